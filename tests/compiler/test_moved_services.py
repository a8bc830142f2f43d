"""Services that once answered otherwise when they were compiled: each as it is, and compiled on nodes that
share nothing but the contexts of messages, moved at every message. A text file each: sources, then what is asked.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from random_running import NODE, compiled, plainly, put_express

from tests.compiler import golden

CASES = Path(__file__).parent / "cases/moved"
JAVASCRIPT = Path(__file__).parent / "cases/moved-javascript"


@pytest.mark.parametrize("case", golden.cases(CASES), ids=lambda path: path.stem)
def test_moved_it_answers_as_it_is(case: Path, tmp_path: Path) -> None:
    files = golden.sources(case.read_text())
    requests = tuple(files.pop("requests").split())
    if "fastapi" in files["app.py"] or "starlette" in files["app.py"] or "uvicorn" in files["app.py"]:
        pytest.importorskip("fastapi")
        pytest.importorskip("uvicorn")
    for name, text in files.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(text)
    wanted = plainly(tmp_path / "source/app.py", requests)
    got = compiled(tmp_path / "source/app.py", requests, tmp_path / "bundle")
    assert list(zip(requests, got, strict=True)) == list(zip(requests, wanted, strict=True))


@pytest.mark.skipif(not NODE, reason="there is no Node.js")
@pytest.mark.parametrize("case", golden.cases(JAVASCRIPT), ids=lambda path: path.stem)
def test_moved_a_service_of_javascript_answers_as_it_is(case: Path, tmp_path: Path) -> None:
    files = golden.sources(case.read_text())
    requests = tuple(files.pop("requests").split())
    source = tmp_path / "source"
    source.mkdir()
    for name, text in files.items():
        (source / name).write_text(text)
    put_express(source)
    wanted = plainly(source / "app.js", requests)
    got = compiled(source / "app.js", requests, tmp_path / "bundle")
    assert list(zip(requests, got, strict=True)) == list(zip(requests, wanted, strict=True))
