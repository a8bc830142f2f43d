"""What is compared: one folder per service, with a `case.json` beside its sources.

    {"name": "notes", "language": "javascript", "tier": "T1", "source": "index.js", "app": null,
     "start": "bash run.sh", "requests": "requests.sh", "expected": "expected.txt",
     "environment": {"PORT": "3000"}, "differs": true}

`source` is what a developer would name to `liquefy-ctl compile`; `start` runs the original, with PORT in its
environment;
`requests` is a script that takes the base address and prints what is answered, or a list of requests in JSON (see
`requesting`); `expected`, where it is known, is what the original prints; `environment` is what both are given, with
`{address}` in it for the host:port where clients reach the service;
`masks` are regular expressions of what is another each time; `differs`: three unconnected copies of the original
answer differently, so that the case says something.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASE_FILE = "case.json"
DEPTH_MAX = 3
"""How far below the folder named cases are looked for."""

PYTHON, JAVASCRIPT = "python", "javascript"


@dataclass(frozen=True)
class Case:
    name: str
    folder: Path
    language: str
    source: Path
    start: tuple[str, ...]
    requests: Path | None
    expected: Path | None = None
    app: str | None = None
    tier: str = ""
    differs: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    masks: tuple[str, ...] = ()

    def given(self, address: str) -> dict[str, str]:
        """What it finds in its environment, where it is reached at `address` (host:port)."""
        return {name: value.replace("{address}", address) for name, value in self.environment.items()}

    @property
    def label(self) -> str:
        return f"{'js' if self.language == JAVASCRIPT else 'py'}/{self.name}"


def find(folder: Path, wanted: tuple[str, ...] = ()) -> list[Case]:
    """The cases in and below the folder, in order of their names; `wanted`: only those, by name or by `js/name`."""
    files = sorted(path for depth in range(DEPTH_MAX) for path in folder.glob("*/" * depth + CASE_FILE))
    cases = [read(file) for file in files]
    return [case for case in cases if not wanted or case.name in wanted or case.label in wanted]


def read(file: Path) -> Case:
    said: dict[str, Any] = json.loads(file.read_text())
    folder = file.parent.resolve()
    return Case(
        name=said["name"],
        folder=folder,
        language=said["language"],
        source=(folder / said["source"]).resolve(),
        start=tuple(said["start"].split()),
        requests=folder / said["requests"] if said.get("requests") else None,
        expected=folder / said["expected"] if said.get("expected") else None,
        app=said.get("app"),
        tier=said.get("tier", ""),
        differs=said.get("differs", False),
        environment=said.get("environment", {}),
        masks=tuple(said.get("masks", ())),
    )
