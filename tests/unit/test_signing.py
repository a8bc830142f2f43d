"""Signed bundles: whose code is run, and which functions of it."""

from __future__ import annotations

import msgspec
import pytest

from liquefy import signing
from liquefy.admission import Allowed, Key
from liquefy.errors import UserError

CODE = b"\x1f\x8b the code"
SECRET = signing.new_secret()
ME = Key("deployer", "me", signing.public_of("deployer", SECRET))
ALLOWED = Allowed([ME])
RUN = signing.function("python", "visits:store")


def signed(code: bytes = CODE, secret: bytes = SECRET) -> bytes:
    return signing.sign(code, [RUN], secret)


def refused(bundle: bytes, allowed: Allowed = ALLOWED, *functions: str) -> str:
    with pytest.raises(UserError) as raised:
        signing.vouched(signing.checked(bundle, allowed), allowed, functions)
    assert "remedy" in str(raised.value)
    return str(raised.value)


def test_what_an_allowed_deployer_signed_is_opened() -> None:
    envelope = signing.checked(signed(), ALLOWED)
    assert envelope.code == CODE
    assert signing.vouched(envelope, ALLOWED, [RUN]).functions == [RUN]
    assert signing.code_of(signed()) == signing.code_of(CODE) == CODE


def test_the_same_code_signed_twice_is_the_same_bundle() -> None:
    assert signed() == signed()


def test_what_nobody_or_somebody_else_signed_is_refused() -> None:
    assert "not signed" in refused(CODE)
    assert "may not deploy" in refused(signed(secret=signing.new_secret()))
    assert "was revoked" in refused(signed(), Allowed([ME._replace(revoked=True)]))
    assert "is a worker's" in refused(signed(), Allowed([ME._replace(role="worker")]))


def test_functions_that_were_not_signed_are_refused() -> None:
    assert "runs python os:system, which me has not signed" in refused(signed(), ALLOWED, RUN, "python os:system")


def test_a_signature_is_good_for_its_code_and_statement_alone() -> None:
    good = signing.checked(signed(), ALLOWED)
    other = signing.checked(signing.sign(b"other", ["python os:system"], SECRET), ALLOWED)

    def bundle(envelope: signing.Envelope) -> bytes:
        return signing.MARK + msgspec.msgpack.encode(envelope)

    assert "not what was signed" in refused(bundle(good._replace(code=b"other")))
    assert "not valid" in refused(bundle(good._replace(statement=other.statement)))
    assert "not valid" in refused(bundle(good._replace(signature=bytes(64))))
    assert "not valid" in refused(bundle(good._replace(signature=b"short")))
    assert "may not deploy" in refused(bundle(good._replace(public=b"short")))
    assert "damaged" in refused(signed()[:-1])
    assert "damaged" in refused(signing.MARK + b"\xc1")
