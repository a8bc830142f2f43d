"""Settings: one frozen dataclass per role. A value comes from the flag, else the environment (`LIQUEFY_` and the name
in capitals), else the configuration file (YAML, `LIQUEFY_CONFIG`), else the default. Units come last in names.
Nothing is read at import. `keys` is the folder of `liquefy.keyring`, "" for none. `broker` is the address of the one
broker; `brokers`, if given, those of all of several, with commas (in the file, a list as well).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from liquefy.errors import ConfigError
from liquefy.graphyaml import nearest

BROKER_DEFAULT = "tcp://127.0.0.1:7701"
CONTROL_DEFAULT = "tcp://127.0.0.1:7702"
REDIS_DEFAULT = "redis://127.0.0.1:7703/0"

BROKERS_MAX = 8
"""So many brokers at most: each peer has a connection to each."""

BODY_BYTES_MAX = 64 * 1024 * 1024
"""No `body_bytes_max` is larger: a body has to fit into a frame (`liquefy/transport.py`), with what is around it."""

DURABILITIES = ("memory", "disk", "replicated")
"""What was written counts when Redis has it; when the disk of Redis has it; when a replica of Redis has it."""


@dataclasses.dataclass(frozen=True)
class BrokerConfig:
    """`ping_interval_ms`: how soon a dead connection is noticed. `silence_max_ms`: a peer that says nothing for so
    long is cut off by the broker (the controller moves hung workers earlier). `held_messages_max`,
    `held_bytes_max`: beyond them every gateway is granted nothing until a migration ends. `flood_bytes_max`: of more
    that one peer has not read, or that is held in all, whoever sent the most is cut off."""

    bind: str = BROKER_DEFAULT
    name: str = "broker"
    ping_interval_ms: int = 50
    silence_max_ms: int = 10_000
    held_messages_max: int = 50_000
    held_bytes_max: int = 128 * 1024 * 1024
    flood_bytes_max: int = 512 * 1024 * 1024
    keys: str = ""
    log_format: str = "text"


def _addresses(listed: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, listed.split(","))))


class _Peer:
    """Settings of all that connect to brokers."""

    broker: str
    brokers: str

    @property
    def broker_addresses(self) -> tuple[str, ...]:
        """Of all brokers: those of `brokers`, or the one of `broker`."""
        return _addresses(self.brokers) or (self.broker,)

    def broker_named(self, link: int) -> str:
        """How the broker of a connection is named to people: there is one, or it is one of several."""
        addresses = self.broker_addresses
        return "the broker" if len(addresses) == 1 else f"the broker {addresses[link]}"


@dataclasses.dataclass(frozen=True)
class WorkerConfig(_Peer):
    """`window`: requests in flight that this node takes from all gateways; with more than `queued_bytes_max` of
    messages here it takes none. `batch_messages_max`: messages per call
    of a host and per commit. `batches_in_flight_max`: 2 lets the host run while the worker commits.
    `async_in_flight_max`: awaiting messages per host. `cache_bytes_max`: contexts kept decoded, per host.
    `host_memory_bytes_max`, `host_files_max`: what a host may allocate, and have open; 0 for no limit. `host_hidden`:
    what it cannot open, besides our keys; `host_writable`: what it may write to, besides folders for temporary files.
    `stall_ms`: a commit that takes longer makes the node advertise a window of 0."""

    broker: str = BROKER_DEFAULT
    brokers: str = ""
    redis: str = REDIS_DEFAULT
    durability: str = "memory"
    name: str = "node1"
    data_dir: str = ".liquefy/node"
    capacity: float = 1.0
    slots: int = 1
    window: int = 2_048
    queued_bytes_max: int = 512 * 1024 * 1024
    batch_messages_max: int = 128
    batches_in_flight_max: int = 2
    async_in_flight_max: int = 512
    cache_bytes_max: int = 256 * 1024 * 1024
    context_bytes_max: int = 8 * 1024 * 1024
    body_bytes_max: int = 8 * 1024 * 1024
    emits_max: int = 1_000
    hops_max: int = 1_000
    host_start_ms: int = 20_000
    host_memory_bytes_max: int = 4 * 1024 * 1024 * 1024
    host_files_max: int = 4_096
    host_hidden: str = ""
    host_writable: str = ""
    install_ms: int = 300_000
    stall_ms: int = 500
    beat_interval_ms: int = 100
    report_interval_ms: int = 500
    silence_max_ms: int = 2_000
    stop_grace_ms: int = 10_000
    keys: str = ""
    log_format: str = "text"


@dataclasses.dataclass(frozen=True)
class ControllerConfig(_Peer):
    """`hang_ms`: a worker that reports nothing for so long has its partitions moved. `move_ms`: a migration that
    takes longer is aborted (before its point of no return). `moves_at_once`: partitions under way together.
    `advertise`: where liquefy-ctl is sent by another controller ("bind": to `bind`).
    `balance_*`: see `controller.balance`."""

    broker: str = BROKER_DEFAULT
    brokers: str = ""
    redis: str = REDIS_DEFAULT
    durability: str = "memory"
    bind: str = CONTROL_DEFAULT
    advertise: str = "bind"
    name: str = "controller"
    hang_ms: int = 1_500
    gone_grace_ms: int = 0
    move_ms: int = 10_000
    moves_at_once: int = 2
    move_gap_ms: int = 5
    prepare_ms: int = 330_000
    balance_interval_ms: int = 1_000
    balance_band: float = 0.10
    balance_cooldown_ms: int = 10_000
    balance_moves_max: int = 16
    balance_load_min: float = 0.05
    retire_after_ms: int = 60_000
    events_max: int = 2_000
    log_lines_max: int = 5_000
    keys: str = ""
    log_format: str = "text"


@dataclasses.dataclass(frozen=True)
class GatewayConfig(_Peer):
    """`header_timeout_ms`, `body_timeout_ms`: a client slower than that to send them is cut off. `keep_alive_ms`: an
    idle connection is closed. `stream_silence_ms_max`: a streamed answer of which nothing more comes for so long is
    broken off. `idempotency_retention_s`: how long an Idempotency-Key and its answer are known;
    `idempotency_bytes_max`: how much this gateway has in the store for them."""

    broker: str = BROKER_DEFAULT
    brokers: str = ""
    redis: str = REDIS_DEFAULT
    durability: str = "memory"
    name: str = "gateway1"
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    body_bytes_max: int = 1024 * 1024
    queued_bytes_max: int = 256 * 1024 * 1024
    headers_bytes_max: int = 32 * 1024
    header_timeout_ms: int = 10_000
    body_timeout_ms: int = 30_000
    keep_alive_ms: int = 60_000
    stream_silence_ms_max: int = 3_600_000
    idempotency_retention_s: int = 3_600
    idempotency_bytes_max: int = 4 * 1024**3
    retry_after_s: int = 1
    beat_interval_ms: int = 100
    silence_max_ms: int = 2_000
    keys: str = ""
    log_format: str = "text"

    @property
    def url(self) -> str:
        """Where it listens, as a person would type it."""
        return f"http://{'[' + self.http_host + ']' if ':' in self.http_host else self.http_host}:{self.http_port}"


_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
"""Names are part of sessions, of what the store fences by, and of lines of the log."""

_POSITIVE = frozenset(
    ("capacity", "slots", "batch_messages_max", "batches_in_flight_max", "async_in_flight_max", "moves_at_once")
)

Config = TypeVar("Config", BrokerConfig, WorkerConfig, ControllerConfig, GatewayConfig)


def load(kind: type[Config], flags: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
    """The settings of one role. `flags` holds those given (None: not given). Raises ConfigError, naming the
    setting, its source and what would be accepted."""
    file = _read_file(environment.get("LIQUEFY_CONFIG", ""))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        variable = f"LIQUEFY_{field.name.upper()}"
        for source, raw in (
            (f"--{field.name.replace('_', '-')}", flags.get(field.name)),
            (variable, environment.get(variable)),
            (f"{environment.get('LIQUEFY_CONFIG')}: {field.name}", file.get(field.name)),
        ):
            if raw is not None:
                values[field.name] = _convert(source, raw, type(field.default))
                _check(source, field.name, values[field.name])
                break
    return kind(**values)


def _convert(source: str, raw: Any, kind: type) -> Any:
    if kind is str and isinstance(raw, list):
        raw = ",".join(map(str, raw))
    try:
        value = kind(raw)
    except (TypeError, ValueError):
        raise ConfigError(f"{source}: {raw!r} is not a {kind.__name__}\n  remedy: give a {kind.__name__}") from None
    if kind in (int, float) and value < 0:
        raise ConfigError(f"{source}: {raw!r} is negative\n  remedy: give 0 or more")
    return value


def _check(source: str, name: str, value: Any) -> None:
    """What has the right type, and would only fail later, or never do anything."""
    if name == "name" and not _NAME(value):
        text = f"{source}: {value[:80]!r} is no name\n  remedy: give 1 to 64 letters, digits, '-', '_' and '.'"
        raise ConfigError(text)
    if (name in _POSITIVE or name.endswith("interval_ms")) and not value:
        raise ConfigError(f"{source}: 0 is not enough\n  remedy: give more than 0")
    if name == "body_bytes_max" and value > BODY_BYTES_MAX:
        raise ConfigError(f"{source}: {value} is more than a frame takes\n  remedy: give at most {BODY_BYTES_MAX}")
    if name == "brokers" and len(given := _addresses(value)) > BROKERS_MAX:
        raise ConfigError(f"{source}: {len(given)} addresses\n  remedy: give at most {BROKERS_MAX}")
    if name == "brokers" and len(set(given)) < len(given):
        raise ConfigError(f"{source}: {value[:200]!r} has one twice\n  remedy: give each address once")
    if name == "durability" and value not in DURABILITIES:
        raise ConfigError(f"{source}: {value!r} is unknown\n  remedy: give one of {', '.join(DURABILITIES)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{source}: {value} is no amount\n  remedy: give a number")
    if name == "http_port" and value > 65_535:
        raise ConfigError(f"{source}: {value} is no port\n  remedy: give one up to 65535, or 0 for any that is free")


def _read_file(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}\n  remedy: correct LIQUEFY_CONFIG or the file") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not a mapping of settings\n  remedy: write `name: value` lines")
    _check_names(path, content)
    return content


def _check_names(path: str, content: Mapping[Any, Any]) -> None:
    """One file serves all roles, so that a name is right if any role has it. Raises ConfigError."""
    kinds = (BrokerConfig, WorkerConfig, ControllerConfig, GatewayConfig)
    known = sorted({field.name for kind in kinds for field in dataclasses.fields(kind)})
    unknown = [f"{name!r}{nearest(str(name), known)}" for name in content if name not in known]
    if unknown:
        raise ConfigError(
            f"{path}: no role has a setting {', '.join(unknown)}\n"
            "  remedy: correct or remove it; `liquefy-worker --help` lists a role's settings"
        )
