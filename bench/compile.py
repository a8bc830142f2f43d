"""How long `liquefy-ctl compile` takes for about 5,000 lines, in processor seconds: services of several shapes, made
here, in both languages. Nothing of them is run.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import judging, report
from compiler.compile import compile_source

Files = dict[str, str]
"""Path -> text; the entry is `app.py` or `app.js`."""

FLASK = "from flask import Flask, jsonify\napp = Flask(__name__)\n"
EXPRESS = 'const express = require("express");\nconst app = express();\n'
LISTEN = "app.listen(3000);\n"


def names() -> list[str]:
    return list(_cases())


def run(plan: report.Plan) -> dict[str, Any]:
    called = {name: functools.partial(_case, made) for name, made in _cases().items()}
    return report.result(plan, report.rounds(plan, called))


def _case(made: Callable[[], Files]) -> dict[str, float]:
    files = made()
    with tempfile.TemporaryDirectory(prefix="liquefy-bench-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        began = time.process_time()
        program = compile_source(Path(folder) / next(name for name in files if name.startswith("app.")))
        took = time.process_time() - began
    lines = sum(text.count("\n") for text in files.values())
    written = sum(text.count(".get('/") for text in files.values())
    found = sum(len(fluxion.entries) for fluxion in program.fluxions)
    wrong = judging.same("routes in the graph", found, written)
    return {"CPU-s": took, "lines": lines, "fluxions": len(program.fluxions), "right": report.right(wrong)}


def _cases() -> dict[str, Callable[[], Files]]:
    return {
        "Python, modules": _python_modules, "Python, calls": _python_calls,
        "Python, classes": _python_classes, "Python, branches": _python_branches,
        "JavaScript, handlers": _javascript_handlers, "JavaScript, calls": _javascript_calls,
        "JavaScript, classes": _javascript_classes, "JavaScript, branches": _javascript_branches,
        "JavaScript, terms": _javascript_terms,
    }  # fmt: skip


def _python_modules() -> Files:
    """90 blueprints, each with its state, a helper and handlers."""
    files, lines = {}, [FLASK]
    for part in range(90):
        lines.append(f"from part{part} import pages as pages{part}\napp.register_blueprint(pages{part})\n")
        text = f"from flask import Blueprint, jsonify\npages = Blueprint('p{part}', __name__, url_prefix='/{part}')\n"
        text += "items = {}\ndef find(key):\n    return items.setdefault(key, {'n': 0})\n"
        for n in range(9):
            text += f"@pages.get('/{n}/<key>')\ndef h{part}_{n}(key):\n    found = find(key)\n    found['n'] += {n}\n"
            text += "    return jsonify(found)\n"
        files[f"part{part}.py"] = text
    return {"app.py": "".join(lines), **files}


def _python_calls() -> Files:
    """600 functions that call each other, with one state; 200 handlers."""
    lines = ["from fastapi import FastAPI\napp = FastAPI()\nstate = {}\nlog = []\n"]
    for n in range(600):
        lines.append(f"def f{n}(x, y=1):\n    state[x] = state.get(x, 0) + y\n    if y > 10:\n")
        lines.append(f"        return f{(n * 7 + 1) % 600}(x, y - 1)\n    log.append([f{(n * 13 + 5) % 600}(q, 0)\n")
        lines.append("                for q in log if q == x])\n    return state\n")
    for n in range(200):
        lines.append(f"@app.get('/f{n}/{{x}}')\nasync def h{n}(x: str):\n    return f{n * 3}(x, 2)\n")
    return {"app.py": "".join(lines)}


def _python_classes() -> Files:
    """90 classes, ten deep, whose methods call each other; all in one list."""
    base = "class Base:\n    def __init__(self):\n        self.items = {}\n        self.log = []\n"
    lines = [FLASK, "every = []\n", base]
    for c in range(90):
        lines.append(f"class K{c}({f'K{c - 1}' if c % 10 else 'Base'}):\n")
        for m in range(11):
            lines.append(f"    def m{m}(self, k, v):\n        self.items[k] = v\n        self.log.append(k)\n")
            lines.append(f"        return self.m{(m + 1) % 11}(k, v - 1) if v else self.items\n")
        lines.append(f"k{c} = K{c}()\nevery.append(k{c})\n@app.get('/k{c}/<key>')\ndef r{c}(key):\n")
        lines.append(f"    for k in every:\n        k.m0(key, 3)\n    return jsonify(k{c}.m1(key, 2))\n")
    return {"app.py": "".join(lines)}


def _python_branches() -> Files:
    """One handler."""
    lines = [FLASK, "st = {}\n@app.get('/<id>')\ndef h(id):\n    a = st.get(id, {'n': 0})\n"]
    for n in range(1_240):
        lines.append(f"    if a['n'] > {n}:\n        a = dict(a, k{n}=a['n'])\n")
        lines.append(f"        b{n} = a\n        st[id] = b{n}\n")
    return {"app.py": "".join([*lines, "    return jsonify(a)\n"])}


def _javascript_handlers() -> Files:
    lines = [EXPRESS]
    for n in range(620):
        lines.append(f"const s{n} = {{}};\napp.get('/r{n}/:id', (req, res) => {{\n  const id = req.params.id;\n")
        lines.append(f"  s{n}[id] = (s{n}[id] || 0) + 1;\n  if (s{n}[id] > 5) {{\n    return res.end();\n  }}\n")
        lines.append(f"  res.json({{ n: s{n}[id] }});\n}});\n")
    return {"app.js": "".join([*lines, LISTEN])}


def _javascript_calls() -> Files:
    """Chains of 50 functions over one state, and a handler for each."""
    lines = [EXPRESS, "const db = { users: {}, list: [] };\n"]
    for n in range(700):
        onward = f"f{n + 1}(x, y)" if n % 50 != 49 else "x"
        lines.append(f"function f{n}(x, y) {{\n  const a = db.users[x] || {{ v: {n} }};\n  a.v += y;\n")
        lines.append(f"  db.users[x] = a;\n  if (a.v > {n}) db.list.push(a);\n  return {onward};\n}}\n")
        if n % 50 == 0:
            lines.append(f"app.get('/c{n}/:id', (req, res) => {{ res.json(f{n}(req.params.id, 1)); }});\n")
    return {"app.js": "".join([*lines, LISTEN])}


def _javascript_classes() -> Files:
    """A class in each of 50 files, that calls the next one's."""
    lines, files = [EXPRESS], {}
    for c in range(50):
        text = f"const other = require('./m{(c + 1) % 50}');\nclass C{c} {{\n"
        text += "  constructor() {\n    this.items = new Map();\n    this.n = 0;\n  }\n"
        for m in range(16):
            text += f"  m{m}(k, v) {{\n    this.n += 1;\n    this.items.set(k, v);\n"
            text += f"    if (v > 3) return other.made.m{(m + 1) % 16}(k, v - 1);\n"
            text += "    return this.items.get(k);\n  }\n"
        files[f"m{c}.js"] = text + f"}}\nexports.made = new C{c}();\n"
        lines.append(f"const m{c} = require('./m{c}');\n")
        lines.append(f"app.get('/x{c}/:k', (req, res) => res.json(m{c}.made.m0(req.params.k, 5)));\n")
    return {"app.js": "".join([*lines, LISTEN]), **files}


def _javascript_branches() -> Files:
    """One handler."""
    lines = [EXPRESS, "const st = {};\napp.get('/:id', (req, res) => {\n  let a = st[req.params.id] || { n: 0 };\n"]
    for n in range(1_240):
        lines.append(f"  if (a.n > {n}) {{\n    a = {{ ...a, k{n}: a.n }};\n    st[req.params.id] = a;\n  }}\n")
    return {"app.js": "".join([*lines, "  res.json(a);\n});\n", LISTEN])}


def _javascript_terms() -> Files:
    """One sum."""
    terms = " +\n".join(f"    (seen.n{n} = seen.n{n} || req.params.id.length)" for n in range(5_000))
    handler = f"app.get('/:id', (req, res) => {{\n  res.json(\n{terms});\n}});\n"
    return {"app.js": f"{EXPRESS}const seen = {{}};\n{handler}{LISTEN}"}
