"""Where the imports of a Python service begin, which is the folder that is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_source

SERVES = "from flask import Flask\napp = Flask(__name__)\n\n\n@app.get('/')\ndef home():\n    return 'x'\n"
GUARD = "\n\nif __name__ == '__main__':\n    app.run()\n"


@pytest.mark.parametrize(
    ("head", "tail", "entry"),
    [
        ("from store import items\n", "", "app.py"),
        ("", GUARD, "app.py"),
        ("", "", "shop/app.py"),
        ("from shop.store import items\n", GUARD, "shop/app.py"),
        ("from .store import items\n", GUARD, "shop/app.py"),
        ("from __init__ import made\n", "", "app.py"),
    ],
)
def test_a_script_beside_an_init_is_run_in_its_own_folder(tmp_path: Path, head: str, tail: str, entry: str) -> None:
    package = tmp_path / "outer" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("made = 1\n")
    (package / "store.py").write_text("items = []\n")
    (package / "app.py").write_text(head + SERVES + tail)
    program = compile_source(package / "app.py")
    assert program.entry == entry
    assert Path(program.folder) == (package if entry == "app.py" else package.parent)
