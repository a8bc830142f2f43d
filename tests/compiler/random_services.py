"""Small services made at random from a grammar, the same in Python and in JavaScript: counters that several handlers
share, branches, loops, early ends, errors, waits, aliases, changes through arguments and methods.

All numbers stay whole and below MODULUS, so that both languages agree on them. Knows nothing of the compiler.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

MODULUS = 997
USERS = ("1", "2", "3")
REQUESTS = 14

PYTHON_STATE = {
    "count": "count = 0",
    "box": 'box = {"n": 1, "deep": {"k": 2}}',
    "twin": 'twin = box["deep"]',
    "items": "items = [5]",
    "users": "users = {}",
    "carts": "carts = {}",
    "meter": "meter = Meter()",
}

JAVASCRIPT_STATE = {
    "count": "let count = 0;",
    "box": "const box = { n: 1, deep: { k: 2 } };",
    "twin": "const twin = box.deep;",
    "items": "const items = [5];",
    "users": "const users = {};",
    "carts": "const carts = {};",
    "meter": "const meter = new Meter();",
}

PYTHON_HEAD = """
class Meter:
    def __init__(self):
        self.level = 3

    def add(self, by):
        self.level = (self.level + by) % 997
        return self.level


def change(target, name, by, *more):
    target[name] = (target[name] + by + len(more)) % 997
    return target[name]


def risky(a):
    if a % 3 == 0:
        raise ValueError("three")
    return a + 1


def loop(a, times=3):
    found = 0
    for each in range(times):
        if each == a % 4:
            continue
        found = (found + each * a) % 997
    return found


def first(a):
    return (a * 7 + 1) % 997


def second(a, b):
    return (a + 2 * b) % 997
"""

JAVASCRIPT_HEAD = """
class Meter {
  constructor() {
    this.level = 3;
  }
  add(by) {
    this.level = (this.level + by) % 997;
    return this.level;
  }
}

function change(target, name, by, ...more) {
  target[name] = (target[name] + by + more.length) % 997;
  return target[name];
}

function risky(a) {
  if (a % 3 === 0) throw new Error("three");
  return a + 1;
}

function loop(a, times = 3) {
  let found = 0;
  for (let each = 0; each < times; each++) {
    if (each === a % 4) continue;
    found = (found + each * a) % 997;
  }
  return found;
}

function first(a) {
  return (a * 7 + 1) % 997;
}

function second(a, b) {
  return (a + 2 * b) % 997;
}

function later(a, done) {
  setTimeout(() => done((a * 3) % 997), 1);
}

const pause = (a) => new Promise((resolve) => setTimeout(() => resolve((a * 5) % 997), 1));
"""

PYTHON_WAITS = """
async def pause(a):
    await asyncio.sleep(0.001)
    return (a * 5) % 997
"""


@dataclass
class Lines:
    """The same statements in both languages. `waits`: they may."""

    waits: bool
    python: list[str] = field(default_factory=list)
    javascript: list[str] = field(default_factory=list)
    depth: int = 1
    names: list[str] = field(default_factory=lambda: ["a"])
    made: int = 0

    def add(self, python: str, javascript: str) -> None:
        self.python.append("    " * self.depth + python)
        self.javascript.append("  " * self.depth + javascript)

    def name(self) -> str:
        self.made += 1
        return f"v{self.made}"


@dataclass(frozen=True)
class Service:
    """`waits` Python is under FastAPI, else under Flask. `requests` are paths, one after the other."""

    seed: int
    waits: bool
    python: str
    javascript: str
    requests: tuple[str, ...]


class Maker:
    """One service."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.waits = self.random.random() < 0.5
        self.lists_all = self.random.random() < 0.5

    def service(self) -> Service:
        python, javascript, paths = [], [], []
        for number in range(self.random.randint(3, 5)):
            path = f"h{number}"
            lines = self._handler()
            python.append(self._python_handler(path, lines))
            javascript.append(self._javascript_handler(path, lines))
            paths.append(path)
        if self.lists_all:
            python.append(self._python_all())
            javascript.append(JAVASCRIPT_ALL)
        requests = [f"/{self.random.choice(paths)}/{self.random.choice(USERS)}" for _ in range(REQUESTS)]
        requests += [f"/{path}/{user}" for path in paths for user in USERS[:2]]
        requests += ["/all/1"] * self.lists_all
        state = "\n".join(PYTHON_STATE.values())
        start = "import asyncio\n\nfrom fastapi import FastAPI\n\napp = FastAPI()\n"
        if not self.waits:
            start = "from flask import Flask, jsonify\n\napp = Flask(__name__)\n"
        head = PYTHON_HEAD + (PYTHON_WAITS if self.waits else "")
        run = "" if self.waits else '\n\nif __name__ == "__main__":\n    app.run()\n'
        text = "\n".join([start, head, "", state, "", *python, run])
        other = "\n".join(
            [
                'const express = require("express");',
                "const app = express();",
                JAVASCRIPT_HEAD,
                *JAVASCRIPT_STATE.values(),
                "",
                *javascript,
                "",
                "app.listen(process.env.PORT || 3000);",
                "",
            ]
        )
        return Service(self.seed, self.waits, text, other, tuple(requests))

    # -- handlers ------------------------------------------------------------------------------------------

    def _handler(self) -> Lines:
        lines = Lines(self.waits)
        self.touched = self.random.sample(list(PYTHON_STATE), self.random.randint(1, 3))
        if self.random.random() < 0.4:
            self._chain(lines)
        else:
            for _ in range(self.random.randint(2, 5)):
                self._statement(lines, 0)
        return lines

    def _chain(self, lines: Lines) -> None:
        """One function of the service after the other, as on the poster."""
        self._touch(lines)
        for _ in range(self.random.randint(1, 3)):
            a, b, made = self._value(lines), self._value(lines), lines.name()
            kind = self.random.choice(["first", "second", "loop", "pause" if lines.waits else "first"])
            call = {"second": f"second({a}, {b})"}.get(kind, f"{kind}({a})")
            wait = "await " if kind == "pause" else ""
            lines.add(f"{made} = {wait}{call}", f"const {made} = {wait}{call};")
            lines.names.append(made)
            if self.random.random() < 0.2:
                self._touch(lines)

    def _statement(self, lines: Lines, nested: int) -> None:
        choices = [self._touch, self._touch, self._touch, self._local]
        if lines.waits:
            choices.append(self._wait)
        if nested < 2:
            choices += [self._branch, self._repeat, self._attempt, self._end_early]
        chosen = self.random.choice(choices)
        if chosen in (self._touch, self._local, self._wait):
            chosen(lines)
        else:
            self._nested(chosen, lines, nested)

    def _nested(self, chosen: object, lines: Lines, nested: int) -> None:
        known = list(lines.names)
        assert callable(chosen)
        chosen(lines, nested)
        lines.names[:] = known  # what is made inside is not known after it

    def _body(self, lines: Lines, nested: int) -> None:
        known = list(lines.names)
        lines.depth += 1
        for _ in range(self.random.randint(1, 2)):
            self._statement(lines, nested + 1)
        lines.depth -= 1
        lines.names[:] = known

    def _value(self, lines: Lines) -> str:
        return self.random.choice([*lines.names, *lines.names, str(self.random.randint(0, 9))])

    def _condition(self, lines: Lines) -> tuple[str, str]:
        a, b, rest = self._value(lines), self.random.randint(2, 4), self.random.randint(0, 1)
        return f"{a} % {b} == {rest}", f"{a} % {b} === {rest}"

    def _local(self, lines: Lines) -> None:
        made, a, b = lines.name(), self._value(lines), self._value(lines)
        python, javascript = self.random.choice(
            [
                (f"{made} = ({a} * 3 + {b}) % 997", f"let {made} = ({a} * 3 + {b}) % 997;"),
                (f"{made} = loop({a})", f"const {made} = loop({a});"),
                (
                    f"{made} = sum(each * {a} for each in [1, 2, {b}]) % 997",
                    f"const {made} = [1, 2, {b}].map((each) => each * {a}).reduce((x, y) => x + y, 0) % 997;",
                ),
                (f"{made}, *_ = [second({a}, {b}), 2]", f"const [{made}] = [second({a}, {b}), 2];"),
            ]
        )
        lines.add(python, javascript)
        lines.names.append(made)

    def _wait(self, lines: Lines) -> None:
        made, a = lines.name(), self._value(lines)
        lines.add(f"{made} = await pause({a})", f"const {made} = await pause({a});")
        lines.names.append(made)

    def _touch(self, lines: Lines) -> None:
        a = self._value(lines)
        made = lines.name()
        name = self.random.choice(self.touched)
        for python, javascript in self.random.choice(touches(name, a, made)):
            lines.add(python, javascript)
        lines.names.append(made)

    def _branch(self, lines: Lines, nested: int) -> None:
        python, javascript = self._condition(lines)
        lines.add(f"if {python}:", f"if ({javascript}) {{")
        self._body(lines, nested)
        lines.add("else:", "} else {")
        self._body(lines, nested)
        lines.javascript.append("  " * lines.depth + "}")

    def _repeat(self, lines: Lines, nested: int) -> None:
        made, times = lines.name(), self.random.randint(1, 3)
        if self.random.random() < 0.5:
            lines.add(f"for {made} in range({times}):", f"for (let {made} = 0; {made} < {times}; {made}++) {{")
            lines.names.append(made)
            self._body(lines, nested)
        else:
            lines.add(f"{made} = {times}", f"let {made} = {times};")
            lines.add(f"while {made} > 0:", f"while ({made} > 0) {{")
            lines.depth += 1
            lines.add(f"{made} -= 1", f"{made} -= 1;")
            lines.depth -= 1
            self._body(lines, nested)
        lines.javascript.append("  " * lines.depth + "}")

    def _attempt(self, lines: Lines, nested: int) -> None:
        a, made = self._value(lines), lines.name()
        lines.add("try:", "try {")
        lines.depth += 1
        lines.add(f"{made} = risky({a})", f"const {made} = risky({a});")
        lines.depth -= 1
        self._body(lines, nested)
        lines.add("except ValueError:", "} catch {")
        self._body(lines, nested)
        if self.random.random() < 0.5:
            lines.add("finally:", "} finally {")
            self._body(lines, nested)
        lines.javascript.append("  " * lines.depth + "}")

    def _end_early(self, lines: Lines, nested: int) -> None:
        python, javascript = self._condition(lines)
        a = self._value(lines)
        lines.add(f"if {python}:", f"if ({javascript}) {{")
        lines.depth += 1
        lines.add(f'return answer(["early", {a}])', f'return res.json(["early", {a}]);')
        lines.depth -= 1
        lines.javascript.append("  " * lines.depth + "}")

    # -- as text -------------------------------------------------------------------------------------------

    def _python_handler(self, path: str, lines: Lines) -> str:
        uses_count = any("count" in line for line in lines.python)
        answer = "" if self.waits else "jsonify"
        route = f'@app.get("/{path}/{{id}}")' if self.waits else f'@app.get("/{path}/<id>")'
        return "\n".join(
            [
                "",
                route,
                f"{'async ' if self.waits else ''}def {path}(id{': str' if self.waits else ''}):",
                *["    global count"] * uses_count,
                "    a = int(id)",
                *[line.replace("answer(", f"{answer}(") for line in lines.python],
                f"    return {answer}([{', '.join(lines.names)}])",
                "",
            ]
        )

    def _javascript_handler(self, path: str, lines: Lines) -> str:
        wait = "async " if lines.waits else ""
        return "\n".join(
            [
                f'app.get("/{path}/:id", {wait}(req, res) => {{',
                "  const id = req.params.id;",
                "  const a = Number(id);",
                *lines.javascript,
                f"  res.json([{', '.join(lines.names)}]);",
                "});",
            ]
        )

    def _python_all(self) -> str:
        route = '@app.get("/all/{id}")' if self.waits else '@app.get("/all/<id>")'
        everything = "[count, box, twin, items, users, carts, meter.level]"
        answer = everything if self.waits else f"jsonify({everything})"
        return f"\n{route}\ndef everything(id{': str' if self.waits else ''}):\n    return {answer}\n"


JAVASCRIPT_ALL = """app.get("/all/:id", (req, res) => {
  res.json([count, box, twin, items, users, carts, meter.level]);
});"""


def touches(name: str, a: str, made: str) -> list[list[tuple[str, str]]]:
    """Ways to change the variable by `a`; `made` becomes what is read of it."""
    if name == "count":
        return [
            [("count += 1", "count += 1;"), (f"{made} = count", f"const {made} = count;")],
            [(f"count = (count * 2 + {a}) % 997", f"count = (count * 2 + {a}) % 997;"),
             (f"{made} = count", f"const {made} = count;")],
            [(f"{made} = count", f"const {made} = count;")],
        ]  # fmt: skip
    if name == "box":
        return [
            [(f'{made} = change(box, "n", {a}, 1, 2)', f'const {made} = change(box, "n", {a}, 1, 2);')],
            [(f'box["deep"]["k"] += {a}', f"box.deep.k += {a};"),
             (f'{made} = box["n"]', f"const {{ n: {made} }} = box;")],
        ]  # fmt: skip
    if name == "twin":
        return [
            [(f'twin["k"] = (twin["k"] + {a}) % 997', f"twin.k = (twin.k + {a}) % 997;"),
             (f'{made} = box["deep"]["k"]', f"const {made} = box.deep.k;")],
            [(f'{made} = change(twin, "k", {a})', f'const {made} = change(twin, "k", {a});')],
        ]  # fmt: skip
    if name == "items":
        return [
            [(f"items.append({a})", f"items.push({a});"), (f"{made} = len(items)", f"const {made} = items.length;")],
            [(f"other{made} = items", f"const other{made} = items;"),
             (f"other{made}.append({a} + 1)", f"other{made}.push({a} + 1);"),
             (f"{made} = sum(items) % 997", f"const {made} = items.reduce((x, y) => x + y, 0) % 997;")],
            [("items[0] += 1", "items[0] += 1;"), (f"{made} = items[-1]", f"const {made} = items[items.length - 1];")],
        ]  # fmt: skip
    if name == "meter":
        return [
            [(f"{made} = meter.add({a})", f"const {made} = meter.add({a});")],
            [("meter.level += 1", "meter.level += 1;"), (f"{made} = meter.level", f"const {made} = meter.level;")],
        ]
    if name == "users":
        return [
            [(f"users[id] = users.get(id, 0) + {a}", f"users[id] = (users[id] || 0) + {a};"),
             (f"{made} = users[id]", f"const {made} = users[id];")],
            [(f"{made} = users.get(id, 0)", f"const {made} = users[id] || 0;")],
            [("users.pop(id, None)", "delete users[id];"), (f"{made} = 0", f"const {made} = 0;")],
        ]  # fmt: skip
    return [
        [(f'carts.setdefault(id, {{"n": 0, "all": []}})["all"].append({a})',
          f"(carts[id] ??= {{ n: 0, all: [] }}).all.push({a});"),
         (f'{made} = len(carts[id]["all"])', f"const {made} = carts[id].all.length;")],
        [("if id not in carts:", "if (!(id in carts)) {"),
         ('    carts[id] = {"n": 1, "all": []}', "  carts[id] = { n: 1, all: [] }; }"),
         (f'{made} = change(carts[id], "n", {a})', f'const {made} = change(carts[id], "n", {a});')],
    ]  # fmt: skip


def make(seed: int) -> Service:
    return Maker(seed).service()
