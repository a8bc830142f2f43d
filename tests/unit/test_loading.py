"""Code that cannot be used is refused with the fluxion, the place and the reason."""

import sys

import pytest

from liquefy.graph import Fluxion, Graph, Group
from liquefy.hosting import Load, Refused
from liquefy.loading import LoadError, load


@pytest.fixture(autouse=True)
def _restored():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def loaded(folder, source, function="f", stateful=False, module="user_code", file="user_code.py"):
    (folder / file).write_text(source)
    graph = Graph(
        "g",
        1,
        "b",
        (),
        (Fluxion("store", f"{module}:{function}", "group", streams=("output",), timeout_ms=1500),),
        (Group("group", stateful, 1),),
    )
    return load(Load(graph, str(folder), ("store",)))


@pytest.mark.parametrize(
    ("source", "stateful", "asynchronous"),
    [
        ("def f(message): pass", False, False),
        ("def f(message, extra=None): pass", False, False),
        ("def f(*args): pass", True, False),
        ("def f(message, context): pass", True, False),
        ("async def f(message): pass", False, True),
        ("async def f(message, context): pass", True, True),
        ("class F:\n    async def __call__(self, message): pass\nf = F()", False, True),
        ("import functools\ndef g(a, message): pass\nf = functools.partial(g, 1)", False, False),
    ],
)
def test_functions_that_fit_are_taken(tmp_path, source, stateful, asynchronous):
    (spec,) = loaded(tmp_path, source, stateful=stateful)
    assert callable(spec.function)
    assert (spec.name, spec.stateful, spec.asynchronous) == ("store", stateful, asynchronous)
    assert (spec.limit_s, spec.limit_ns) == (1.5, 1_500_000_000)
    assert spec.sole.name == "output"


@pytest.mark.parametrize(
    ("source", "stateful", "words"),
    [
        ("", False, ["user_code.py has no function 'f'"]),
        ("def g(m): pass\ndef h(m): pass", False, ["no function 'f'; there are g, h"]),
        ("f = 5", False, ["is a int, not a function"]),
        ("def f(): pass", False, ["user_code.py:1:", "takes ()", "(message)"]),
        ("\ndef f(message, context): pass", False, ["user_code.py:2:", "it has no context"]),
        ("def f(message): pass", True, ["takes (message)", "(message, context)"]),
        ("async def f(message): pass", True, ["takes (message)", "(message, context)"]),
        ("def f(message):\n    yield 1", False, ["is a generator", "list of emit"]),
        ("import nowhere", False, ["importing the module 'user_code' failed", "No module named 'nowhere'"]),
        ("def f(message:", False, ["SyntaxError"]),
        ("raise SystemExit(3)", False, ["SystemExit: 3"]),
        ("from liquefy import nothing", False, ["ImportError", "nothing"]),
    ],
)
def test_functions_that_do_not_fit_are_refused(tmp_path, source, stateful, words):
    with pytest.raises(LoadError) as raised:
        loaded(tmp_path, source, stateful=stateful)
    error = raised.value.error
    assert error.startswith("fluxion 'store' (user_code:f): ")
    assert all(word in error for word in words), error


def test_the_traceback_is_the_users(tmp_path):
    with pytest.raises(LoadError) as raised:
        loaded(tmp_path, "def g():\n    return 1 / 0\n\ng()")
    trace = raised.value.traceback
    assert 'File "user_code.py", line 2' in trace
    assert "return 1 / 0" in trace
    assert "loading.py" not in trace
    assert "importlib" not in trace


def test_what_was_raised_is_told_once(tmp_path):
    with pytest.raises(LoadError) as raised:
        loaded(tmp_path, "error = ValueError('a: b failed: c')\nerror.add_note('a note')\nraise error")
    told = Refused("g", 1, raised.value.error, raised.value.traceback).told()
    assert told.endswith('failed: ValueError: a: b failed: c\na note\nTraceback (most recent call last):\n'
                         '  File "user_code.py", line 3, in <module>\n    raise error')  # fmt: skip
    stack = "Error: no\n    at Object.<anonymous> (app.js:3:7)"
    told = Refused("g", 1, "importing 'app.js' failed: Error: no", stack).told()
    assert told == "importing 'app.js' failed: Error: no\n    at Object.<anonymous> (app.js:3:7)"


def test_a_module_named_like_one_of_pythons_is_explained(tmp_path):
    with pytest.raises(LoadError, match=r"Python has a module 'decimal' itself .*; rename yours"):
        loaded(tmp_path, "def f(message): pass", module="decimal", file="decimal.py")
