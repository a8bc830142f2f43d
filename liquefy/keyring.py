"""A folder of keys: what `liquefy-ctl keys` writes, and what a process reads of it.

    FOLDER/allowed              public keys by role, see `liquefy.admission`
    FOLDER/ROLE/NAME.key        one secret key, readable by its owner alone
    FOLDER/ROLE/allowed         the same list: a machine gets the folders of its roles, and nothing else
    FOLDER/ROLE/redis.password  of controller, worker and gateway, where Redis' password was made with the keys
    FOLDER/redis/redis.conf     the same, for redis-server

A process is given either folder. It looks again at the list when that changes, and at its own key whenever it connects:
so keys are added, replaced and revoked while all runs. Knows no socket.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from liquefy import admission, signing
from liquefy.admission import ROLES, Allowed, Key
from liquefy.errors import UserError

LIST = "allowed"
SUFFIX = ".key"
FOLDER_DEFAULT = ".liquefy-keys"

REDIS_ROLES = ("controller", "worker", "gateway")
REDIS_PASSWORD = "redis.password"
REDIS_CONF = "redis/redis.conf"


class OwnKey(NamedTuple):
    """A secret key, its name, and its public part. Both are 32 bytes."""

    name: str
    public: bytes
    secret: bytes


class Keyring:
    """The keys of one process. Raises UserError if the folder has none for its role."""

    def __init__(self, folder: Path | str, role: str) -> None:
        self.folder, self.role = Path(folder), role
        self._seen: tuple[int, ...] = ()
        self.allowed = read_list(self.folder)
        self.refresh()
        self.own()

    @classmethod
    def given(cls, folder: str, role: str) -> Keyring | None:
        """As the setting `keys` says: None if it is empty."""
        return cls(folder, role) if folder else None

    def refresh(self) -> bool:
        """Look whether the list is another than before. One that cannot be read changes nothing: it is replaced as a
        whole, so that is a fault of the disk or of who edits it, and the list in force is the last good one."""
        try:
            found = (self.folder / LIST).stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return False
            allowed = read_list(self.folder)
        except (OSError, UserError):
            return False
        self._seen = seen
        changed = allowed.keys != self.allowed.keys
        self.allowed = allowed
        return changed

    def own(self) -> OwnKey:
        """The newest key of our role that was not revoked. Raises UserError."""
        return own_key(self.folder, self.role, self.allowed)


def read_list(folder: Path) -> Allowed:
    """Raises UserError."""
    path = folder / LIST
    try:
        return admission.parse(path.read_text(), str(path))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}\n"
            "  remedy: give the folder that `liquefy-ctl keys init` has made, or one of a role in it"
        ) from None


def own_key(folder: Path, role: str, allowed: Allowed) -> OwnKey:
    """The newest secret key of the role in the folder, or in the role's folder in it. Raises UserError."""
    files = [*folder.glob(f"*{SUFFIX}"), *(folder / role).glob(f"*{SUFFIX}")]
    found: list[tuple[int, OwnKey]] = []
    for path in files:
        key = _read_secret(path, role)
        known = allowed.named(key.name) if key is not None else None
        if key is not None and not (known is not None and known.revoked):
            found.append((path.stat().st_mtime_ns, key))
    if not found:
        raise UserError(
            f"{folder}: there is no {role}'s key here that is in force\n"
            f"  remedy: make one with `liquefy-ctl keys add {role} NAME`, and copy the folder {role} here"
        )
    return max(found, key=lambda each: each[0])[1]


def _read_secret(path: Path, role: str) -> OwnKey | None:
    """None if it is another role's. Raises UserError."""
    try:
        if path.parent.name != role and path.read_text().split()[:1] != [role]:
            return None
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UserError(f"{path}: others than its owner may read this key\n  remedy: chmod 600 {path}")
        words = path.read_text().split()
        secret = bytes.fromhex(words[2])
        if words[0] != role or len(words) != 3 or len(secret) != 32:
            raise ValueError
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}\n  remedy: give it to who runs this") from None
    except (ValueError, IndexError):
        raise UserError(f"{path}: holds no {role}'s key\n  remedy: copy it again, or add another") from None
    return OwnKey(words[1], bytes.fromhex(signing.public_of(role, secret)), secret)


# -- the password of Redis --------------------------------------------------------------------------------------


def redis_url(urls: str, folder: str, role: str) -> str:
    """Where Redis is, with the password that was made with the keys in the folder; as it is if it has one already, or
    none was made. Raises UserError."""
    if not folder or "@" in urls:
        return urls
    for path in (Path(folder) / REDIS_PASSWORD, Path(folder) / role / REDIS_PASSWORD):
        try:
            password = quote(path.read_text().strip("\n"), safe="")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}\n  remedy: give it to who runs this") from None
        return re.sub(r"(^|,)(\s*[a-z+]+://)", rf"\1\2:{password}@", urls)
    return urls


def create_redis_password(folder: Path, given: str = "") -> None:
    """Have a password of Redis in the folder: that which is given, or the one that is there, or a new one. Raises
    UserError."""
    first = folder / REDIS_ROLES[0] / REDIS_PASSWORD
    if not given:
        given = first.read_text().strip("\n") if first.is_file() else secrets.token_hex(24)
    if not given.isprintable():
        raise UserError("the password of Redis has characters that cannot be printed\n  remedy: choose another")
    escaped = given.replace("\\", "\\\\").replace('"', '\\"')
    _write(folder / REDIS_CONF, f'requirepass "{escaped}"\n', 0o600)
    for role in reversed(REDIS_ROLES):  # the first one last: then all have it
        _write(folder / role / REDIS_PASSWORD, f"{given}\n", 0o600)


def forget_redis_password(folder: Path) -> None:
    """For a Redis that has another one, or none."""
    for name in (REDIS_CONF, *(f"{role}/{REDIS_PASSWORD}" for role in REDIS_ROLES)):
        (folder / name).unlink(missing_ok=True)


# -- what liquefy-ctl keys does -----------------------------------------------------------------------------


def create(folder: Path) -> bool:
    """A new folder with one key of each role, named after it. Whether it was made: one that is there stays as it is.
    Raises UserError."""
    if (folder / LIST).exists():
        return False
    if folder.is_dir() and any(folder.glob(f"*/*{SUFFIX}")):
        raise UserError(f"{folder}: has keys, but no list\n  remedy: delete it, or give another folder")
    allowed = Allowed()
    for role in ROLES:
        allowed = _added(folder, allowed, role, role)
    _write_lists(folder, allowed)
    return True


def add(folder: Path, role: str, name: str, public: str = "") -> Key:
    """One key more. `public`: of a secret one that was made elsewhere. Raises UserError."""
    allowed = _whole(folder)
    if role not in ROLES:
        raise UserError(f"{role!r} is no role\n  remedy: give one of {', '.join(ROLES)}")
    if not admission.NAME.fullmatch(name):
        raise UserError(f"{name[:80]!r} is no name\n  remedy: give 1 to 64 letters, digits, '-', '_' and '.'")
    if known := allowed.named(name):
        what = "was revoked; its name is not given again" if known.revoked else f"is there already, a {known.role}'s"
        raise UserError(f"the key {name} {what}\n  remedy: choose another name")
    allowed = _added(folder, allowed, role, name, public)
    _write_lists(folder, allowed)
    return allowed.keys[-1]


def revoke(folder: Path, name: str) -> Key:
    """That key is good for nothing any more, and its file is deleted if it is here. Raises UserError."""
    allowed = _whole(folder)
    known = allowed.named(name)
    if known is None:
        there = ", ".join(key.name for key in allowed.keys if not key.revoked)
        raise UserError(f"there is no key {name}\n  remedy: name one of {there}")
    changed = known._replace(revoked=True)
    _write_lists(folder, Allowed(changed if key == known else key for key in allowed.keys))
    (folder / known.role / f"{name}{SUFFIX}").unlink(missing_ok=True)
    return changed


def _whole(folder: Path) -> Allowed:
    """The list of a folder that has all roles: in a part of one a change would reach nobody."""
    allowed = read_list(folder)
    if not any((folder / role).is_dir() for role in ROLES):
        raise UserError(
            f"{folder}: is the folder of one role\n"
            "  remedy: give the one that it was copied from (--keys, LIQUEFY_KEYS)"
        )
    return allowed


def _added(folder: Path, allowed: Allowed, role: str, name: str, public: str = "") -> Allowed:
    secret = b""
    if not public:
        secret = signing.new_secret()
        public = signing.public_of(role, secret)
    # Checked as it will be read, before anything is written.
    made = admission.parse(Allowed([*allowed.keys, Key(role, name, public.lower())]).text(), "the new list")
    if secret:
        _write(folder / role / f"{name}{SUFFIX}", f"{role} {name} {secret.hex()}\n", 0o600)
    return made


def _write_lists(folder: Path, allowed: Allowed) -> None:
    """To the folders of the roles first: `create` is done when the list of the whole is there."""
    for place in (*(folder / role for role in ROLES), folder):
        _write(place / LIST, allowed.text(), 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says. Raises UserError."""
    try:
        _make_folder(path.parent)
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}\n  remedy: give a folder of your own") from None


def _make_folder(folder: Path) -> None:
    """Whatever the umask, others than its owner do not write to it: they could put keys of theirs in place of ours."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o755, exist_ok=True)
