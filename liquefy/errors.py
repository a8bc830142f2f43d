"""The error tree. Each error says whose fault it is, and whether the work surely did not happen.

LiquefyError
├── UserError            the person's input: shown as one line, no traceback; nothing was changed
│   ├── GraphError       graph.yaml or a bundle: names file, line, value and remedy
│   │   └── GraphErrors  all that is wrong with it at once
│   └── ConfigError      a flag, an environment variable, a configuration file
├── BadFrame             a peer sent what is not in the protocol: it loses its connection
├── Damaged              a key of the store holds what none of ours does; what it is of is set aside
├── Deposed              the store has heard of a later leader than the controller that asked: nothing was done
└── StoreUnavailable     Redis did not answer: the work may or may not have happened (`definite` is False)
"""

from __future__ import annotations

from collections.abc import Sequence


class LiquefyError(Exception):
    """`definite`: True if the work surely did not happen."""

    definite = True


class UserError(LiquefyError):
    """A mistake in what a person gave us; `str()` is the whole message, remedy included."""


class GraphError(UserError):
    """`file`, `line` (1-based, 0 if there is none), what is wrong, and what to do about it."""

    def __init__(self, file: str, line: int, problem: str, remedy: str) -> None:
        self.file, self.line, self.problem, self.remedy = file, line, problem, remedy
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {problem}\n  remedy: {remedy}")


class GraphErrors(GraphError):
    """One or more GraphErrors found together, in the order of the files' lines. Stands for the first of them;
    `str()` lists all."""

    def __init__(self, errors: Sequence[GraphError]) -> None:
        first = errors[0]
        super().__init__(first.file, first.line, first.problem, first.remedy)
        self.errors = tuple(errors)
        self.args = ("\n".join(str(error) for error in errors),)


class ConfigError(UserError):
    """A setting that cannot be used, and where it came from."""


class BadFrame(LiquefyError):
    """Bytes that are no message of ours."""


class Damaged(LiquefyError):
    """A key of the store is of another type than it should be."""


class Deposed(LiquefyError):
    """Another controller has led since, in this `term`."""

    def __init__(self, term: int) -> None:
        self.term = term
        super().__init__(f"another controller leads (term {term})")


class StoreUnavailable(LiquefyError):
    """Redis was not reached, or the connection broke before the answer came."""

    definite = False
