"""Who may speak here: the list of public keys by role, and a book of those who were refused.

Decides only: it knows no socket, file or clock. A key names what its holder may be, not who it is: all workers may
share one. A session says which key it was opened with (`keyed_session`), and the side that was connected to holds its
peer to that at each frame; so whoever reads a session knows the role behind it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from liquefy.effects import Count, Log, ToBroker
from liquefy.errors import UserError
from liquefy.messages import Malformed, Session

ROLES = ("broker", "controller", "worker", "gateway", "operator", "deployer")
"""What a key may be for. `operator`: liquefy-ctl. `deployer`: signs bundles, and connects to nobody."""

PEERS = ("controller", "worker", "gateway")
"""The roles that connect to a broker."""

REFUSED_PEERS_MAX = 1_024
"""Refused peers remembered, so that each is logged once; the oldest are forgotten."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_HEAD = "# role name public-key [revoked]; written by `liquefy-ctl keys`, the newest last\n"


class Key(NamedTuple):
    """One line of the list. `public` is in hexadecimal. A revoked key stays in the list, so that its name is not given
    again and a copy of the list shows that it knows."""

    role: str
    name: str
    public: str
    revoked: bool = False


class Allowed:
    """The list of keys."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)
        self._by_public = {key.public: key for key in self.keys}
        self._roles = {key.name.encode(): key.role for key in self.keys if not key.revoked}

    def admit(self, public: str, roles: Collection[str]) -> Key | str:
        """The key, or why its holder is refused. `roles`: those that have business here."""
        key = self._by_public.get(public)
        if key is None:
            return f"its key {public[:12]} is not in the list"
        if key.revoked:
            return f"its key {key.name} was revoked"
        if key.role not in roles and tuple(roles) == ("deployer",):
            return f"its key {key.name} is a {key.role}'s"
        if key.role not in roles:
            return f"its key {key.name} is a {key.role}'s, here {' and '.join(sorted(roles))} connect"
        return key

    def role_of(self, name: bytes) -> str:
        """The role of the key of that name; "" if there is none, or it was revoked."""
        return self._roles.get(name, "")

    def publics(self, role: str) -> list[bytes]:
        """The keys of a role that are in force, the newest first."""
        return [bytes.fromhex(key.public) for key in reversed(self.keys) if key.role == role and not key.revoked]

    def named(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)

    def text(self) -> str:
        """As `parse` reads it."""
        lines = (f"{k.role} {k.name} {k.public}{' revoked' if k.revoked else ''}\n" for k in self.keys)
        return _HEAD + "".join(lines)


def parse(text: str, file: str) -> Allowed:
    """The list in a file. Raises UserError, naming file and line."""
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        problem = _problem(words, keys)
        if problem:
            remedy = "have `liquefy-ctl keys` write this file, and copy it"
            raise UserError(f"{file}:{number}: {problem}\n  remedy: {remedy}")
        key = Key(words[0], words[1], words[2], len(words) == 4)
        keys[key.name] = key
    return Allowed(keys.values())


def _problem(words: list[str], known: dict[str, Key]) -> str:
    if len(words) not in (3, 4) or words[3:] not in ([], ["revoked"]):
        return f"{' '.join(words)[:80]!r} is not `role name public-key`, with `revoked` or without"
    role, name, public = words[:3]
    if role not in ROLES:
        return f"{role[:80]!r} is no role; the roles are {', '.join(ROLES)}"
    if not NAME.fullmatch(name):
        return f"{name[:80]!r} is no name: 1 to 64 letters, digits, '-', '_' and '.'"
    if not _PUBLIC.fullmatch(public):
        return f"{public[:80]!r} is no public key: 64 hexadecimal digits"
    if name in known:
        return f"there are two keys of the name {name}"
    if any(key.public == public for key in known.values()):
        return f"the key of {name} is there under another name"
    return ""


def keyed_session(session: bytes, key: str) -> bytes:
    """The session with the name of the key that it is opened with."""
    return session + b"@" + key.encode()


def key_of(session: bytes) -> bytes:
    """The name of the key that a session was opened with; b"" if it names none."""
    return session.rpartition(b"@")[2] if b"@" in session else b""


def exposure(endpoint: str, keys: str) -> Log | None:
    """What to say where others than this machine may connect, and need no key."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if keys or not endpoint.startswith("tcp://") or host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    text = f"whoever reaches {endpoint} can run code in this cluster: no keys are asked for (setting `keys`)"
    return Log("warning", text, "exposed")


class Complaints:
    """About peers whose frames, which the broker forwards unopened, cannot be read. Each is counted; of each peer one
    is logged, and of each session one told to the broker."""

    def __init__(self) -> None:
        self._refusals = Refusals()
        self._sessions: dict[Session, None] = {}

    def about(self, session: Session, error: str, link: int = 0) -> list[Log | Count | ToBroker]:
        """`link`: the connection on which that came."""
        effects: list[Log | Count | ToBroker] = [Count("bad_frames")]
        peer = session.partition(b"#")[0].decode(errors="replace")
        if self._refusals.note(peer, "") is not None:
            effects.append(Log("warning", f"{peer} sent what is not in the protocol: {error}", "bad_frame"))
        if session not in self._sessions:
            self._sessions[session] = None
            if len(self._sessions) > REFUSED_PEERS_MAX:
                del self._sessions[next(iter(self._sessions))]
            effects.append(ToBroker(Malformed(session), link))
        return effects


class Refusals:
    """Counts who was refused, and says it once per peer and reason: whoever knocks without end fills no log."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[tuple[str, str], None] = {}

    def note(self, peer: str, reason: str) -> Log | None:
        """The line to log, if this is news."""
        self.count += 1
        if (peer, reason) in self._known:
            return None
        self._known[peer, reason] = None
        if len(self._known) > REFUSED_PEERS_MAX:
            del self._known[next(iter(self._known))]
        return Log("warning", f"{peer} is refused: {reason}", "refused_peer", {"peer": peer, "reason": reason})
