"""Our own services, as they are and compiled on three nodes, moved in the middle: the same answers. Real processes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from cases import Case, find
from equivalence import run
from outcome import SAME

SERVICES = find(Path(__file__).parent / "services")


@pytest.mark.parametrize("case", SERVICES, ids=[case.label for case in SERVICES])
def test_compiled_it_answers_as_it_does_by_itself(case: Case) -> None:
    given = argparse.Namespace(originals=False, show=True, each=False, together=False)
    (one,) = run([case], given)
    assert one.result == SAME, one.why
    assert one.moved or one.reasons, "it was neither moved, nor said why not"
