"""What JavaScript makes of bytes that are nearly packed values: a value that can be packed again, or an error."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from fuzz.making import Maker
from fuzz.parsers import SEEDS

from liquefy import nodejs

HERE = Path(__file__).parent
TRIES = 3_000


def test_any_bytes_are_a_value_or_an_error_in_javascript_too() -> None:
    maker = Maker(random.Random(3))
    tries = [maker.spoilt(maker.one(SEEDS["values"])) if maker.often(0.8) else maker.bytes(60) for _ in range(TRIES)]
    command = [str(nodejs.find().node), "--max-old-space-size=256", str(HERE / "values_any.mjs")]
    given = "".join(f"{data.hex()}\n" for data in tries)
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    made = done.stdout.split("\n")[:-1]
    assert len(made) == TRIES
    again = "".join(f"{line}\n" for line in made if line != "-")
    assert again
    done = subprocess.run(command, input=again, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == again
