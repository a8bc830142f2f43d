"""No state raises, hangs or says what could not be sent, whatever peers say: some stories of each role, always the same
ones. `make fuzz` runs more, and others."""

from __future__ import annotations

import random

import pytest
from fuzz.making import Maker
from fuzz.states import STORIES


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("story", STORIES)
def test_whatever_peers_say(story: str, seed: int) -> None:
    STORIES[story](Maker(random.Random(seed)))
