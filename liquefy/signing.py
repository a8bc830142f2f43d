"""Keys made, and bundles signed: Ed25519 and Curve25519 by libsodium (PyNaCl).

A signed bundle is an envelope around the bundle's bytes: who signed, the signature, and the statement that is signed:
the SHA-256 of the code, and which functions of it may be run as fluxions (`module:function` can name any function there
is, so that without these the signature of harmless code would vouch for `os:system`). The digest by which a graph names
its bundle is that of the envelope; the same files signed by the same key give the same one. Knows no file and no store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from liquefy.admission import Allowed
from liquefy.errors import UserError

MARK = b"liquefy-signed-1\n"

_REMEDY = "\n  remedy: deploy with liquefy-ctl and a deployer's key that the nodes allow (liquefy-ctl keys list)"


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """What a deployer vouches for. `functions` are `language module:function`, sorted."""

    sha256: str
    functions: list[str]


class Envelope(NamedTuple):
    public: bytes
    signature: bytes
    statement: bytes
    code: bytes


_envelope = msgspec.msgpack.Decoder(Envelope)
_statement = msgspec.msgpack.Decoder(Statement)


def new_secret() -> bytes:
    """A secret key, for either use: its 32 bytes."""
    return bytes(SigningKey.generate())


def public_of(role: str, secret: bytes) -> str:
    """The public key to a secret one, in hexadecimal: deployers sign, all others connect."""
    public = SigningKey(secret).verify_key if role == "deployer" else PrivateKey(secret).public_key
    return bytes(public).hex()


def function(language: str, code: str) -> str:
    """How a statement names a fluxion's function."""
    return f"{language} {code}"


def sign(code: bytes, functions: Collection[str], secret: bytes) -> bytes:
    """The envelope around the bytes of a bundle."""
    statement = msgspec.msgpack.encode(Statement(hashlib.sha256(code).hexdigest(), sorted(set(functions))))
    key = SigningKey(secret)
    signature = key.sign(MARK + statement).signature
    return MARK + msgspec.msgpack.encode(Envelope(bytes(key.verify_key), signature, statement, code))


def code_of(bundle: bytes) -> bytes:
    """The code in a bundle, signed or not; believes it unchecked. Raises UserError."""
    return _opened(bundle).code if bundle.startswith(MARK) else bundle


def checked(bundle: bytes, allowed: Allowed) -> Envelope:
    """A bundle that an allowed deployer has signed. Raises UserError, saying what is wrong with it."""
    if not bundle.startswith(MARK):
        raise UserError(f"the bundle is not signed, and this node runs signed ones alone{_REMEDY}")
    envelope = _opened(bundle)
    statement = vouched(envelope, allowed)
    if hashlib.sha256(envelope.code).hexdigest() != statement.sha256:
        raise UserError(f"the code of the bundle is not what was signed{_REMEDY}")
    return envelope


def vouched(envelope: Envelope, allowed: Allowed, functions: Collection[str] = ()) -> Statement:
    """What an allowed deployer has signed, these functions among it; whatever the code is. Raises UserError."""
    key = allowed.admit(envelope.public.hex(), ("deployer",))
    if isinstance(key, str):
        raise UserError(f"the bundle is signed by somebody who may not deploy: {key}{_REMEDY}")
    try:
        VerifyKey(envelope.public).verify(MARK + envelope.statement, envelope.signature)
        statement = _statement.decode(envelope.statement)
    except (BadSignatureError, ValueError, RecursionError):
        raise UserError(f"the signature of {key.name} under the bundle is not valid{_REMEDY}") from None
    if more := sorted(set(functions) - set(statement.functions)):
        raise UserError(f"the graph runs {more[0]}, which {key.name} has not signed{_REMEDY}")
    return statement


def _opened(bundle: bytes) -> Envelope:
    try:
        return _envelope.decode(memoryview(bundle)[len(MARK) :])
    except (ValueError, RecursionError) as error:
        raise UserError(f"the signed bundle is damaged: {error}{_REMEDY}") from None
