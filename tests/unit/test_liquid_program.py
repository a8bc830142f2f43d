"""Which application of a module is served, where nothing in it serves."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from liquefy.liquid.program import find_app


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


def module(**values: Any) -> ModuleType:
    made = ModuleType("shop")
    vars(made).update(values)
    return made


def test_a_factory_that_wants_something_is_not_called() -> None:
    def create_app(store: object) -> object:
        return store

    def get_app(store: object = None) -> object:
        return application

    assert find_app(module(create_app=create_app, get_app=get_app)) == (application, "wsgi")
    assert find_app(module(create_app=create_app)) is None
