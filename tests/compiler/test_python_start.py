"""A compiled program that cannot start is refused while it is loaded, with its file and line: that is when it is
deployed, and the version before goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from compiler.compile import compile_source, emit

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import sys
from pathlib import Path
from liquefy.graphfile import read
from liquefy.hosting import Load
from liquefy.loading import LoadError, load
graph = read(Path(sys.argv[1], "graph.yaml"))
try:
    load(Load(graph, sys.argv[1], tuple(f.name for f in graph.fluxions)))
except LoadError as error:
    print(error.error)
else:
    print("loaded")
"""


def _loaded(source: str, folder: Path) -> str:
    for name in ("source", "bundle"):
        (folder / name).mkdir(parents=True)
    (folder / "source/app.py").write_text(source)
    emit(compile_source(folder / "source/app.py"), folder / "bundle")
    command = [sys.executable, "-c", LOAD, str(folder / "bundle")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


FLASK = "from flask import Flask\napp = Flask(__name__)\ncount = [0]\n\n\n@app.get('/')\ndef h():\n    count[0] += 1\n"


def test_what_cannot_start_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    said = _loaded(f"{FLASK}    return str(count[0])\n\n\nraise RuntimeError('no settings')\n", tmp_path)
    assert "no settings" in said
    assert "app.py:12" in said


def test_what_starts_is_loaded(tmp_path: Path) -> None:
    assert _loaded(f"{FLASK}    return str(count[0])\n", tmp_path) == "loaded\n"


def test_what_is_pinned_starts_on_its_own_node_alone(tmp_path: Path) -> None:
    started = "threading.Thread(target=h).start()\nraise RuntimeError\n"
    text = f"import threading\n{FLASK}    return str(count[0])\n\n\n{started}"
    assert _loaded(text, tmp_path) == "loaded\n"


PINNED = f"{FLASK}    open('log.txt', 'a').write('x')\n    return 'ok'\n"


def test_what_is_pinned_and_imports_what_is_not_there_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    assert "app.py:1 imports no_such_library" in _loaded(f"import no_such_library\n{PINNED}", tmp_path)


def test_what_is_pinned_and_does_without_what_is_not_there_is_loaded(tmp_path: Path) -> None:
    maybe = "try:\n    import no_such_library\nexcept ImportError:\n    no_such_library = None\n"
    assert _loaded(f"import json, os.path\n{maybe}{PINNED}", tmp_path) == "loaded\n"
