"""The JavaScript parts, by Node's own test runner: one test here for each file there."""

import re
import subprocess
from pathlib import Path

import pytest

from liquefy import nodejs

HERE = Path(__file__).parent / "javascript"


@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_javascript(file: str) -> None:
    command = [str(nodejs.find().node), "--test", "--test-reporter=tap", str(HERE / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout
