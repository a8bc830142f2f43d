"""Whose code this node runs: with a folder of keys, only what a deployer of its list has signed, and only the functions
that were signed with it.

A bundle is opened and checked once per process; what was said of it is checked again each time a host is to run it,
with the list as it is then: nothing that a revoked key has signed begins to run. Knows no store.
"""

from __future__ import annotations

from collections.abc import Collection

from liquefy import signing
from liquefy.errors import UserError
from liquefy.keyring import Keyring


class Vouching:
    def __init__(self, keys: Keyring | None) -> None:
        self._keys = keys
        self._signed: dict[str, signing.Envelope] = {}
        """By digest: what was checked, without the code."""

    def needs(self, digest: str) -> bool:
        """Whether the bundle has to be seen, though its files are here."""
        return self._keys is not None and digest not in self._signed

    def opened(self, bundle: bytes, digest: str) -> bytes:
        """The code in it. Raises UserError if nobody vouches for it."""
        if self._keys is None:
            return signing.code_of(bundle)
        self._keys.refresh()
        envelope = signing.checked(bundle, self._keys.allowed)
        self._signed[digest] = envelope._replace(code=b"")
        return envelope.code

    def problem(self, digest: str, functions: Collection[str] = ()) -> str:
        """Why the functions of a bundle that was opened may not be run; "" if they may."""
        if self._keys is None:
            return ""
        self._keys.refresh()
        try:
            signing.vouched(self._signed[digest], self._keys.allowed, functions)
        except UserError as error:
            return str(error)
        return ""
