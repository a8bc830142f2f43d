"""Settings: what a configuration file may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from liquefy import config
from liquefy.errors import ConfigError


def load(folder: Path, text: str) -> config.ControllerConfig:
    file = folder / "liquefy.yaml"
    file.write_text(text)
    return config.load(config.ControllerConfig, {}, {"LIQUEFY_CONFIG": str(file)})


def test_one_file_serves_all_roles(tmp_path: Path) -> None:
    settings = load(tmp_path, "hang_ms: 3000\nhttp_port: 9000\nwindow: 10\nheld_messages_max: 5\n")
    assert settings.hang_ms == 3000


def test_a_name_that_no_role_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "hang_sm: 3000\nhttp_port: 9000\nno_such_thing_at_all: 1\n7: 1\n")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/liquefy.yaml: ")
    assert "'hang_sm' (did you mean 'hang_ms'?), 'no_such_thing_at_all', 7" in said
    assert "http_port" not in said
    assert "remedy:" in said
