"""How every role starts and ends: flags from the fields of its settings, logging, the event loop, signals,
and a person's mistakes as one message without traceback. Knows nothing of what a role does.

    def main() -> None:
        running.run(BrokerConfig, serve)
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import inspect
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import typer
import uvloop

from liquefy import config as configs
from liquefy import log
from liquefy.config import Config
from liquefy.errors import UserError

USER_ERROR_EXIT = 2

FAILED = "a task failed"
"""The message of a fault in a task, for the event loop's exception handler."""

GC_OBJECTS = 50_000
"""New objects between two looks for cycles."""

FILES_ENDLESS = 2**31

FAULT_EXIT = 70
"""An error of ours: told with its traceback; then the process ends and whoever supervises it starts it again. A state
that missed half an event would go on wrongly, and silently."""


def run(kind: type[Config], serve: Callable[[Config, asyncio.Event], Awaitable[None]]) -> None:
    """Run a role to its end, then exit. `serve(settings, stop)` returns after `stop` is set, which SIGTERM
    and SIGINT do; exit 0. A UserError is printed on stderr; exit 2."""

    def command(**flags: Any) -> None:
        try:
            settings = configs.load(kind, flags, os.environ)
            log.setup(settings.name, settings.log_format)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, serve))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(USER_ERROR_EXIT) from None

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            # Strings all: `config.load` converts, and complains in the same words whatever the source.
            default=typer.Option(None, metavar=type(field.default).__name__.upper(), help=f"default: {field.default}"),
            annotation=str | None,
        )
        for field in dataclasses.fields(kind)
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = "Settings also come from LIQUEFY_<NAME> and the file LIQUEFY_CONFIG."
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    app()


def files_allowed() -> int:
    """How many files and connections this process may have open, from now on all that it may be given: for roles that
    start no others, which would inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return FILES_ENDLESS if hard == resource.RLIM_INFINITY else hard


async def _serve(settings: Config, serve: Callable[[Config, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_on_fault)
    # What is there now stays: no collection need look at it again. And what a message makes is freed by its counts.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    await serve(settings, stop)


def _on_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)
    error = context.get("exception")
    # The network's errors are not ours; transports report those that they do not expect this way. Without one of its
    # tasks a process would live on and do half its work.
    if error is not None and (not isinstance(error, OSError) or context["message"] == FAILED):
        sys.stderr.flush()
        os._exit(FAULT_EXIT)
