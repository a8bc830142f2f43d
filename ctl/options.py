"""The options that commands share, and how a mistake ends a command: a message on standard error and an exit
code.

1  the controller refused, or what was asked failed in part       3  no controller answers
2  a mistake in what was typed or in a file given                130  Ctrl-C
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from ctl import render
from ctl.asking import Lost, Refused, Unreachable
from liquefy.errors import LiquefyError, UserError

REFUSED_EXIT = 1
MISTAKE_EXIT = 2
UNREACHABLE_EXIT = 3
INTERRUPTED_EXIT = 130

At = Annotated[
    str | None,
    typer.Option(
        "--controller",
        metavar="ENDPOINT",
        help="Where the controller is, or several of them, with commas (else LIQUEFY_CONTROLLER, the cluster that `up` "
        "runs here, tcp://127.0.0.1:7702).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
What = Annotated[
    str,
    typer.Argument(help="A group or fluxion (store, visits/store), or one partition of it (store/7, visits/store/7)."),
]
Node = Annotated[str, typer.Argument(help="The name of a node, see `liquefy-ctl nodes`.")]


class Group(TyperGroup):
    """The command line as a whole: turns errors into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED_EXIT) from None
        except BrokenPipeError:
            # The reader has gone (`| head`). Python would complain once more when it flushes at exit.
            sys.stdout = None
            raise typer.Exit(0) from None
        except LiquefyError as error:
            complain(str(error))
            raise typer.Exit(exit_code(error)) from None


def exit_code(error: LiquefyError) -> int:
    if isinstance(error, UserError):
        return MISTAKE_EXIT
    return UNREACHABLE_EXIT if isinstance(error, Unreachable | Lost) else REFUSED_EXIT


def complain(message: str) -> None:
    """On standard error; `remedy:` lines stand out."""
    made = Text.assemble(("error: ", "bold red"), render.text(message))
    made.highlight_words(["remedy:"], style="green")
    render.console(sys.stderr).print(made, soft_wrap=True)


__all__ = ["AsJson", "At", "Group", "Node", "Refused", "What", "complain", "exit_code"]
