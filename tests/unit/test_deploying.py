"""What `liquefy-ctl deploy --dry-run` says, with a cluster and without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ctl import deploying
from ctl.__main__ import build
from ctl.asking import Unreachable

VISITS = Path(__file__).parents[2] / "examples/visits"


class Controller:
    keys = None

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, command: str, arguments: dict[str, Any], *_: object) -> dict[str, Any]:
        assert command == "deploy"
        assert arguments["dry_run"] is True
        return {"graph": "visits", "version": 3, "partitions": 96, "nodes": ["node1"]}


class There:
    @staticmethod
    def found(_: str | None) -> Controller:
        return Controller()


class Away:
    @staticmethod
    def found(_: str | None) -> Controller:
        raise Unreachable("no controller answers at tcp://127.0.0.1:1\n  remedy: start one")


def dry_run(path: Path, *flags: str) -> Result:
    return CliRunner().invoke(build(), ["deploy", str(path), "--dry-run", *flags])


def test_with_a_cluster_names_and_routes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "Controller", There)
    result = dry_run(VISITS, "--json")
    assert (result.exit_code, json.loads(result.stdout)["compared"]) == (0, True)
    assert "would be deployed as version 3: 96 partitions on node1" in dry_run(VISITS).stdout


def test_without_a_cluster_the_files_are_checked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "Controller", Away)
    result = dry_run(VISITS, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "graph": "visits",
        "version": None,
        "partitions": sum(g.partitions for g in deploying.read(VISITS)[0].groups),
        "nodes": [],
        "compared": False,
        "unreachable": "no controller answers at tcp://127.0.0.1:1",
    }
    said = " ".join(dry_run(VISITS).stdout.split())
    assert "passed all checks" in said
    assert "not compared with a cluster: no controller answers" in said


def test_without_a_cluster_a_mistake_is_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(deploying, "Controller", Away)
    (tmp_path / "graph.yaml").write_text((VISITS / "graph.yaml").read_text())
    result = dry_run(tmp_path)
    assert result.exit_code == 2
    assert "there is no module 'visits'" in result.stderr
