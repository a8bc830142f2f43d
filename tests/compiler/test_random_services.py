"""Services made at random answer, compiled and moved at every message, what they answer as they are, and end with the
same state. More of them: RANDOM_SERVICES=200; one of them: RANDOM_SERVICES=1 RANDOM_SEED=17."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from random_running import NODE, compiled, plainly, write
from random_services import Service, make
from random_wordings import make as worded

COUNT = int(os.environ.get("RANDOM_SERVICES", "4"))
FIRST = int(os.environ.get("RANDOM_SEED", "0"))


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_compiled_and_moved_it_answers_as_it_is(seed: int, language: str, tmp_path: Path) -> None:
    service = make(seed)
    if language == "python" and service.waits:
        pytest.importorskip("fastapi")
    check(service, language, tmp_path)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_the_posters_program_in_any_words_answers_as_it_is(seed: int, tmp_path: Path) -> None:
    check(worded(seed), "javascript", tmp_path)


def check(service: Service, language: str, folder: Path) -> None:
    if language == "javascript" and not NODE:
        pytest.skip("node is not on PATH")
    file = write(service, language, folder / "source")
    wanted = plainly(file, service.requests)
    got = compiled(file, service.requests, folder / "bundle")
    for path, plain, moved in zip(service.requests, wanted, got, strict=True):
        assert moved == plain, f"{path} of seed {service.seed}"
