from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctl import local, record
from ctl.__main__ import build
from ctl.local import Ports, Size
from liquefy import keyring
from liquefy.errors import UserError
from liquefy.graph import Fluxion, Graph, Group, Input


def graph(*inputs: Input) -> Graph:
    return Graph("visits", 0, "", inputs, (Fluxion("store", "m:f", "users"),), (Group("users", True, 32),))


def test_a_cluster_in_the_order_in_which_it_starts_with_the_flags_of_the_roles(tmp_path: Path) -> None:
    cluster = local.compose(tmp_path, Ports(1, 2, 3, 4, []), Size(2), "", {"gateway": ["gate"]})
    assert [s.name for s in cluster.specs] == ["redis", "broker", "controller", "node1", "node2", "gateway1"]
    worker = cluster.specs[3].command
    assert worker[1:4] == ["-P", "-m", "worker"]
    assert worker[4:] == [
        "--name=node1", "--broker=tcp://127.0.0.1:1", "--redis=redis://127.0.0.1:3/0", f"--data-dir={tmp_path}/node1",
        "--keys=",
    ]  # fmt: skip
    # Stopped in this order: gateway, controller, nodes, broker, redis.
    stages = {s.role: s.stage for s in cluster.specs}
    assert sorted(stages, key=stages.__getitem__) == ["gateway", "controller", "worker", "broker", "redis"]


def test_the_roles_of_one_machine_meet_at_sockets_and_others_at_ports(tmp_path: Path) -> None:
    folder = Path("/tmp/here")
    cluster = local.compose(folder, Ports(1, 2, 3, 4, []), Size(1), "")
    redis, broker, _, worker, _ = (spec.command for spec in cluster.specs)
    assert "--bind=tcp://127.0.0.1:1,ipc:///tmp/here/broker.sock" in broker
    assert "--broker=ipc:///tmp/here/broker.sock" in worker
    assert "--redis=unix:///tmp/here/redis.sock?db=0" in worker
    assert redis[redis.index("--unixsocket") + 1] == "/tmp/here/redis.sock"
    assert redis[redis.index("--port") + 1] == "3"
    assert (cluster.broker, cluster.redis) == ("ipc:///tmp/here/broker.sock", "redis://127.0.0.1:3/0")
    far = Path("/tmp", *["where paths are long"] * 5)
    for spec in local.compose(far, Ports(1, 2, 3, 4, []), Size(1), "").specs:
        assert not [word for word in spec.command if ".sock" in word], spec.name


def test_each_role_has_its_own_keys_and_no_command_line_the_password_of_redis(tmp_path: Path) -> None:
    url = "redis://me:secret@elsewhere:6379/1"
    cluster = local.compose(tmp_path, Ports(1, 2, 0, 4, []), Size(1), url, keys="/k")
    keys = {spec.role: next(word for word in spec.command if word.startswith("--keys=")) for spec in cluster.specs}
    assert keys == {role: f"--keys=/k/{role}" for role in ("broker", "controller", "worker", "gateway")}
    assert not [word for spec in cluster.specs for word in spec.command if "secret" in word]
    assert {s.environment.get("LIQUEFY_REDIS", "") for s in cluster.specs if s.role != "broker"} == {url}
    assert cluster.redis == "redis://elsewhere:6379/1", "what is written down can be read by users' code"
    assert local.without_password("redis://:a@b@h:1/0,rediss://u:p@i:2/0?ca=/f") == "redis://h:1/0,rediss://i:2/0?ca=/f"


def test_a_redis_of_a_cluster_with_keys_asks_for_a_password_that_nothing_shows(tmp_path: Path) -> None:
    keyring.create(tmp_path / "keys")
    keyring.create_redis_password(tmp_path / "keys")
    cluster = local.compose(tmp_path, Ports(1, 2, 3, 4, []), Size(1), "", keys=str(tmp_path / "keys"))
    redis = cluster.specs[0].command
    assert (tmp_path / "keys/redis/redis.conf").read_text().startswith("requirepass ")
    assert redis[1] == str(tmp_path / "keys/redis/redis.conf"), "what comes first is the file of its settings"
    password = (tmp_path / "keys/worker/redis.password").read_text().strip()
    assert len(password) >= 32
    hidden = next(word for word in cluster.specs[3].command if word.startswith("--host-hidden="))
    assert hidden == f"--host-hidden={tmp_path}/redis,{tmp_path}/logs,{tmp_path}/cluster.json"
    assert not [word for spec in cluster.specs for word in (*spec.command, *spec.environment.values(), cluster.redis)
                if password in word]  # fmt: skip


def test_a_redis_that_runs_already_is_not_started(tmp_path: Path) -> None:
    cluster = local.compose(tmp_path, Ports(1, 2, 0, 4, []), Size(1), "redis://elsewhere:6379/1")
    assert "redis" not in [s.name for s in cluster.specs]
    assert "--redis=redis://elsewhere:6379/1" in cluster.specs[1].command


def test_several_of_a_role_listen_each_at_its_own_port(tmp_path: Path) -> None:
    cluster = local.compose(tmp_path, Ports(1, 2, 3, 4, [], (12,), (14, 15), (11,)), Size(1, 2, 3, 2), "")
    names = ["redis", "broker", "broker2", "controller", "controller2", "node1", "gateway1", "gateway2", "gateway3"]
    assert [s.name for s in cluster.specs] == names
    binds = [word for s in cluster.specs[1:3] for word in s.command if word.startswith("--bind=")]
    assert [bind.split(",")[0] for bind in binds] == ["--bind=tcp://127.0.0.1:1", "--bind=tcp://127.0.0.1:11"]
    assert len(set(cluster.broker.split(","))) == 2
    linked = [[word for word in s.command if word.startswith("--broker")] for s in cluster.specs[3:]]
    assert linked == [[f"--brokers={cluster.broker}"]] * 6
    assert cluster.controller == "tcp://127.0.0.1:2,tcp://127.0.0.1:12"
    assert "--http-port=15" in cluster.specs[-1].command
    with local.claimed_ports(None, False, Size(1, 3, 2, 3)) as ports:
        chosen = [*ports[:4], *ports.controllers, *ports.gateways, *ports.brokers]
        assert len(set(chosen)) == len(chosen) == 9


def test_no_nodes_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--nodes: 0 nodes\n  remedy: give a number from 1"):
        local.compose(tmp_path, Ports(1, 2, 3, 4, []), Size(0), "")


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=r"--http-port: port \d+ is in use"), local.claimed_ports(port, True):
            pass


def test_two_that_start_at_the_same_moment_choose_different_ports() -> None:
    with local.claimed_ports(None, False) as one:
        with local.claimed_ports(None, False) as other:  # nobody listens on the first ones yet
            assert not set(one[:4]) & set(other[:4])
        with pytest.raises(UserError, match="is in use"), local.claimed_ports(one.http, True):
            pass
    with local.claimed_ports(one.http, True) as again:
        assert again.http == one.http, "a claim ends with the cluster"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (Input("input", "GET", "/{id}", "store"), "curl http://h:1/alice"),
        (Input("input", "*", "/{user}/visits", "store"), "curl http://h:1/alice/visits"),
        (Input("input", "DELETE", "/x", "store"), "curl -X DELETE http://h:1/x"),
        (
            Input("input", "POST", "/carts/{id}", "store"),
            """curl -X POST http://h:1/carts/alice -H 'Content-Type: application/json' -d '{"id": "alice"}'""",
        ),
    ],
)
def test_a_line_that_calls_the_service(entry: Input, line: str) -> None:
    assert local.curl_line(graph(entry), "http://h:1") == line


def test_what_to_try_next_fits_the_service(tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text("")
    lines = dict(local.hints(graph(Input("input", "GET", "/{id}", "store")), tmp_path, "http://h:1", 3))
    assert lines["call it"] == "curl http://h:1/alice"
    assert lines["move a fluxion"].endswith(" migrate store node3")
    assert lines["load it"].endswith(f"{tmp_path}/load.py --url http://h:1")


def test_what_to_try_next_names_a_controller_that_would_not_be_found(tmp_path: Path) -> None:
    def flag(state: Path, here: Path, **environment: str) -> str:
        return local.flag_for("tcp://c:1", state, here, environment)

    assert flag(tmp_path / ".liquefy", tmp_path) == ""
    assert flag(tmp_path / ".liquefy", tmp_path / "a" / "b") == ""
    assert flag(tmp_path / ".liquefy", tmp_path, LIQUEFY_CONTROLLER="tcp://d:2") == " --controller tcp://c:1"
    assert flag(tmp_path / "other", tmp_path) == " --controller tcp://c:1"
    assert flag(tmp_path / "a" / ".liquefy", tmp_path) == " --controller tcp://c:1"
    lines = dict(local.hints(graph(Input("input", "GET", "/{id}", "store")), tmp_path, "http://h:1", 3, " --x y"))
    assert lines["move a fluxion"].endswith(" migrate store node3 --x y")
    assert lines["watch"].endswith(" top --x y")


def test_the_record_is_found_from_below_and_survives_a_broken_file(tmp_path: Path) -> None:
    state, below = tmp_path / ".liquefy", tmp_path / "a" / "b"
    state.mkdir()
    below.mkdir(parents=True)
    written = record.ClusterRecord(*record.myself(), 1.0, "tcp://c:1", "tcp://b:1", "redis://r", "http://h")
    record.write(state, written)
    assert record.find(below) == (state, written)
    assert record.alive(written)
    (state / record.FILE_NAME).write_text("{")
    assert record.find(below) is None


def test_a_state_folder_that_cannot_be_one_is_a_mistake_of_who_named_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert record.made(tmp_path / "a" / "b").is_dir()
    for name in ("file", "file/below", "x" * 300):
        with pytest.raises(UserError, match=r"--state: .* is no folder that can be written: .*\n  remedy"):
            record.made(tmp_path / name)


def test_a_pid_alone_does_not_make_a_process_ours() -> None:
    pid, created_s = record.myself()
    assert record.process(pid, created_s) is not None
    assert record.process(pid, created_s - 10) is None


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_is_none_is_a_mistake_of_who_typed_it(port: str, tmp_path: Path) -> None:
    asked = CliRunner().invoke(build(), ["up", f"--http-port={port}", f"--state={tmp_path}/state"])
    assert asked.exit_code == 2
    assert "Invalid value for '--http-port'" in asked.output


def test_a_cluster_that_does_not_run_any_more_is_found_as_that(tmp_path: Path) -> None:
    below = tmp_path / "service"
    below.mkdir()
    record.made(tmp_path / record.FOLDER_DEFAULT)
    assert record.idle(below) == tmp_path / record.FOLDER_DEFAULT
