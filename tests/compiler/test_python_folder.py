"""Where the imports of a Python service begin, which is the folder that is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_source
from liquefy.errors import UserError

SERVES = "from flask import Flask\napp = Flask(__name__)\n\n\n@app.get('/')\ndef home():\n    return 'x'\n"
REMEDY = "  remedy: name one as it is imported from there"
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


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nope:app", f"there is no module 'nope' in FOLDER\n{REMEDY}, such as app:app"),
        ("app:nope", "app.py has no 'nope'\n  remedy: name the application that is in it: app:app or app:later"),
        ("app:app", ""),
        ("app", ""),
        ("app:made()", ""),
        ("app:later", ""),
    ],
)
def test_an_application_that_is_not_there_is_told(tmp_path: Path, app: str, said: str) -> None:
    more = "def made():\n    return app\n\n\ntry:\n    later = app\nfinally:\n    pass\n"
    (tmp_path / "app.py").write_text(SERVES + more)
    if not said:
        assert compile_source(tmp_path / "app.py", app).app == app
        return
    with pytest.raises(UserError) as refused:
        compile_source(tmp_path / "app.py", app)
    assert str(refused.value) == f"--app {app}: {said.replace('FOLDER', str(tmp_path))}"


def test_applications_that_are_imported_with_all_else_are_found(tmp_path: Path) -> None:
    package = tmp_path / "the-shop"
    package.mkdir()
    (package / "__init__.py").write_text("from .core import *\n")
    (package / "core.py").write_text("from . import other\n" + SERVES)
    (package / "other.py").write_text("")
    assert compile_source(package / "core.py", "the-shop:app").app == "the-shop:app"


def test_the_module_of_the_application_is_read(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("seen = {}\n")
    (tmp_path / "other.py").write_text(SERVES)
    program = compile_source(tmp_path / "app.py", "other:app")
    assert [fluxion.name for fluxion in program.fluxions] == ["home", "app"]


def test_an_application_that_a_package_has_of_its_module_is_found(tmp_path: Path) -> None:
    package = tmp_path / "shop-api"
    package.mkdir()
    (package / "core.py").write_text("import os\n" + SERVES)
    (package / "__init__.py").write_text("from .core import *\n")
    assert compile_source(package / "core.py", "shop-api:app").app == "shop-api:app"
