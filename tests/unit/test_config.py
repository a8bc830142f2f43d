"""Settings: where they come from, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liquefy.admission import exposure
from liquefy.config import BROKER_DEFAULT, BrokerConfig, ControllerConfig, GatewayConfig, WorkerConfig, load
from liquefy.errors import ConfigError


def test_a_flag_beats_the_environment_and_that_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("slots: 2\nwindow: 3\ncapacity: 4\n")
    environment = {"LIQUEFY_CONFIG": f"{tmp_path}/settings.yaml", "LIQUEFY_SLOTS": "5", "LIQUEFY_WINDOW": "6"}
    settings = load(WorkerConfig, {"slots": "7", "window": None}, environment)
    assert (settings.slots, settings.window, settings.capacity) == (7, 6, 4.0)


@pytest.mark.parametrize(
    ("kind", "flags", "problem"),
    [
        (WorkerConfig, {"name": ""}, "--name: '' is no name"),
        (WorkerConfig, {"name": "a\nb"}, "is no name"),
        (WorkerConfig, {"name": "node#1"}, "is no name"),
        (WorkerConfig, {"name": "n" * 65}, "is no name"),
        (GatewayConfig, {"name": "@gw"}, "is no name"),
        (WorkerConfig, {"capacity": "0"}, "--capacity: 0 is not enough"),
        (WorkerConfig, {"capacity": "nan"}, "--capacity: nan is no amount"),
        (WorkerConfig, {"capacity": "inf"}, "--capacity: inf is no amount"),
        (WorkerConfig, {"slots": "0"}, "--slots: 0 is not enough"),
        (WorkerConfig, {"batch_messages_max": "0"}, "--batch-messages-max: 0 is not enough"),
        (WorkerConfig, {"beat_interval_ms": "0"}, "--beat-interval-ms: 0 is not enough"),
        (WorkerConfig, {"body_bytes_max": "67108865"}, "--body-bytes-max: 67108865 is more than a frame takes"),
        (GatewayConfig, {"body_bytes_max": "67108865"}, "is more than a frame takes"),
        (ControllerConfig, {"moves_at_once": "0"}, "--moves-at-once: 0 is not enough"),
        (ControllerConfig, {"balance_band": "nan"}, "is no amount"),
        (GatewayConfig, {"http_port": "65536"}, "--http-port: 65536 is no port"),
        (GatewayConfig, {"http_port": "-1"}, "is negative"),
        (GatewayConfig, {"http_port": "http"}, "is not a int"),
    ],
)
def test_what_is_no_setting_is_refused_with_a_remedy(kind: Any, flags: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(kind, flags, {})
    assert problem in str(raised.value)
    assert "\n  remedy: " in str(raised.value)


def test_zero_is_a_setting_where_it_means_something() -> None:
    flags = {"move_gap_ms": "0", "gone_grace_ms": "0", "balance_cooldown_ms": "0"}
    assert load(ControllerConfig, flags, {}).move_gap_ms == 0
    assert load(GatewayConfig, {"http_port": "0"}, {}).http_port == 0
    assert load(WorkerConfig, {"name": "node-0af3.example"}, {}).name == "node-0af3.example"


def test_nothing_listens_beyond_this_machine_unless_told_to() -> None:
    for endpoint in (BrokerConfig().bind, ControllerConfig().bind):
        assert exposure(endpoint, "") is None
    assert GatewayConfig().http_host == "127.0.0.1"


def test_brokers_are_one_or_those_that_are_given() -> None:
    assert WorkerConfig().broker_addresses == ("tcp://127.0.0.1:7701",)
    settings = load(GatewayConfig, {"brokers": "tcp://a:1, tcp://b:1"}, {"LIQUEFY_BROKER": "tcp://c:1"})
    assert settings.broker_addresses == ("tcp://a:1", "tcp://b:1")
    assert load(ControllerConfig, {"brokers": None}, {"LIQUEFY_BROKERS": ""}).broker_addresses == (BROKER_DEFAULT,)


def test_brokers_may_be_a_list_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("brokers: [tcp://a:1, tcp://b:1]\n")
    settings = load(WorkerConfig, {}, {"LIQUEFY_CONFIG": f"{tmp_path}/settings.yaml"})
    assert settings.broker_addresses == ("tcp://a:1", "tcp://b:1")


@pytest.mark.parametrize(
    ("brokers", "problem"),
    [("tcp://a:1,tcp://a:1", "has one twice"), (",".join(f"tcp://a:{i}" for i in range(9)), "9 addresses")],
)
def test_brokers_are_few_and_different(brokers: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(WorkerConfig, {"brokers": brokers}, {})
