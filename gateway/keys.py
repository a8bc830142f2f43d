"""The key of a request: what its entry fluxion's key path finds in it. Pure."""

from __future__ import annotations

from typing import Any

from gateway.routes import Entry

KEY_BYTES_MAX = 512
"""Length of a key in UTF-8; as for keys of messages inside the graph."""

ID_LENGTH_MAX = 255
"""Characters of an Idempotency-Key."""


class KeyMissing(Exception):
    """The request has no usable key; `str()` is for the client."""


def key_of(request: dict[str, Any], entry: Entry, root: bytes) -> str:
    """The key under which the request travels; as `Graph.key_of` has it. Raises KeyMissing."""
    if entry.key:
        try:
            return find_key(request, entry.key)
        except KeyMissing:
            if not entry.raw:
                raise
            # The application behind a raw input answers what is wrong with a request, whoever gets it.
            return root.hex()
    return "" if entry.stateful else root.hex()


def find_key(request: dict[str, Any], path: tuple[str, ...]) -> str:
    """Follow the path into the request: strings as they are, whole numbers in decimal. Raises
    KeyMissing."""
    found: Any = request
    for step in path:
        if type(found) is not dict or step not in found:
            raise KeyMissing(f"the request has no {'.'.join(path)}, which is the key here")
        found = found[step]
    if type(found) is int:
        found = str(found)
    if type(found) is not str:
        raise KeyMissing(f"the key, {'.'.join(path)}, is neither a string nor a whole number")
    if not 1 <= len(found.encode()) <= KEY_BYTES_MAX:
        raise KeyMissing(f"the key, {'.'.join(path)}, must have 1 to {KEY_BYTES_MAX} bytes")
    return found
