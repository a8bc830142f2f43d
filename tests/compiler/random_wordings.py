"""The poster's program in words made at random: functions that hand a callback down, or the response, or wait; results
by callback with an error first or alone; arguments in arguments; one name for several things; early ends. In
JavaScript.

Knows nothing of the compiler.
"""

from __future__ import annotations

import random

from random_services import USERS, Service

NAMES = ("id", "n", "user", "found", "page", "row")
REQUESTS = 10


class Wording:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.style = self.random.choice(("callback", "callback", "response", "await", "inline", "nested", "nested"))
        self.error = self.style == "callback" and self.random.random() < 0.5
        self.steps = self.random.randint(2, 4)
        self.parameters = [self.random.sample(NAMES, 2) for _ in range(self.steps)]
        self.touching = 0 if self.random.random() < 0.8 else self.random.randrange(self.steps)
        """Which function counts."""

    def pick(self, names: list[str]) -> str:
        """A value of what is there: a text."""
        one, other = self.random.choice(names), self.random.choice(names)
        return self.random.choice((one, f"{one} + 'x'", f"{one} + '.' + {other}", f"String({one}.length)"))

    def locals(self, names: list[str]) -> tuple[str, list[str]]:
        """Statements, and what is there after them."""
        text, names = "", list(names)
        for _ in range(self.random.randint(0, 2)):
            free = [name for name in (*NAMES, "more") if name not in names]
            if free:
                name = self.random.choice(free)
                text += f"  const {name} = {self.pick(names)};\n"
                names.append(name)
        return text, names

    def program(self) -> str:
        functions = "".join(self.function(index) for index in range(self.steps))
        return (
            'const express = require("express");\nconst app = express();\nconst seen = {};\n'
            "const db = { query(key, done) { setTimeout(() => done(null, { text: key + '!' }), 1); } };\n"
            f"{functions}{self.handler()}app.listen(process.env.PORT || 3000);\n"
        )

    def function(self, index: int) -> str:
        given = self.parameters[index]
        text, names = self.locals(given)
        if index == self.touching:
            entry = f"seen[{given[0]}]"
            text = f"  {entry} = ({entry} || 0) + 1;\n  const times = String({entry});\n{text}"
            names.append("times")
        last = index == self.steps - 1
        way = {"nested": self.handing, "callback": self.calling_back, "response": self.answering, "await": self.waiting}
        body = way.get(self.style, self.waiting)(index, names, last)
        head = "async function" if self.style in ("await", "inline") else "function"
        third = {"callback": ", done", "nested": ", done", "response": ", res"}.get(self.style, "")
        return f"{head} f{index}({', '.join(given)}{third}) {{\n{text}{body}}}\n"

    def handing(self, index: int, names: list[str], last: bool) -> str:
        if last:
            return f"  setTimeout(() => done({self.pick(names)}, {self.pick(names)}), 1);\n"
        early = ""
        if self.random.random() < 0.3:
            early = f"  if ({names[0]} === '2') return done({self.pick(names)}, 'early');\n"
        return f"{early}  done({self.pick(names)}, {self.pick(names)});\n"

    def nested(self, index: int, names: list[str]) -> str:
        given = self.random.sample(NAMES, 2)
        there = [*(name for name in names if name not in given), *given]
        inner = f"res.json({self.pick(there)});"
        if index < self.steps - 1:
            text, there = self.locals(there) if self.random.random() < 0.3 else ("", there)
            inner = text + self.nested(index + 1, there)
        return f"f{index}({self.pick(names)}, {self.pick(names)}, ({', '.join(given)}) => {{\n{inner}}});\n"

    def calling_back(self, index: int, names: list[str], last: bool) -> str:
        first = "null, " if self.error else ""
        if last:
            bad = f"{names[0]} === '3' ? done({{ message: 'bad' }}, '') : " if self.error else ""
            return f"  setTimeout(() => {bad}done({first}{self.pick(names)}), 1);\n"
        call = f"f{index + 1}({self.pick(names)}, {self.pick(names)}, "
        if self.random.random() < 0.5:
            return f"  {call}done);\n"
        result = self.random.choice(NAMES)
        inside = [*(name for name in names if name != result), result]
        text, inside = self.locals(inside)
        head = "error, " if self.error else ""
        early = "if (error) return done(error, '');\n" if self.error else ""
        if not self.error and self.random.random() < 0.3:
            early = f"if ({result}.length > 4) return done({self.pick(inside[:1])});\n"
        return f"  {call}({head}{result}) => {{\n{early}{text}  done({first}{self.pick(inside)});\n}});\n"

    def answering(self, index: int, names: list[str], last: bool) -> str:
        if not last:
            early = f"  if ({names[0]} === '2') return res.json('early');\n" if self.random.random() < 0.2 else ""
            return f"{early}  f{index + 1}({self.pick(names)}, {self.pick(names)}, res);\n"
        result = self.random.choice(NAMES)
        inside = [*(name for name in names if name != result), f"{result}.text"]
        return f"  db.query({self.pick(names)}, (err, {result}) => {{\n  res.json({self.pick(inside)});\n}});\n"

    def waiting(self, index: int, names: list[str], last: bool) -> str:
        if last:
            return f"  await new Promise((resolve) => setTimeout(resolve, 1));\n  return {self.pick(names)};\n"
        call = f"f{index + 1}({self.pick(names)}, {self.pick(names)})"
        early = f"  if ({names[0]} === '2') return 'early';\n" if self.random.random() < 0.2 else ""
        if self.random.random() < 0.5:
            return f"{early}  return {call};\n"
        result = next(name for name in (*NAMES, "last") if name not in names)
        return f"{early}  const {result} = await {call};\n  return {self.pick([*names, result])};\n"

    def handler(self) -> str:
        name = self.random.choice(NAMES)
        begin = f"  const {name} = req.params.id;\n"
        if self.random.random() < 0.3:
            begin += f"  if ({name} === '2') return res.json('none');\n"
        result = self.random.choice([each for each in NAMES if each != name])
        given = f"{name}, {self.pick([name])}"
        after = f"res.json({self.pick([name, result])});"
        if self.style == "callback":
            head = f"error, {result}" if self.error else result
            early = "if (error) return res.json(error.message);\n" if self.error else ""
            rest = f"  f0({given}, ({head}) => {{\n{early}{after}\n}});\n"
        elif self.style == "nested":
            rest = self.nested(0, [name])
        elif self.style == "response":
            rest = f"  f0({given}, res);\n"
        elif self.style == "inline":
            call = f"f1(await f0({given}), {name})" if self.random.random() < 0.5 else f"f0({given})"
            rest = f"  const {result} = await {call};\n  {after}\n"
        else:
            rest = f"  const {result} = await f0({given});\n  {after}\n"
        return f'app.get("/it/:id", async (req, res) => {{\n{begin}{rest}}});\n'


def make(seed: int) -> Service:
    wording = Wording(seed)
    text = wording.program()
    paths = tuple(f"/it/{wording.random.choice(USERS)}" for _ in range(REQUESTS))
    return Service(seed, True, "", text, paths)
