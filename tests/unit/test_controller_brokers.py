"""A controller with two brokers: who is gone, who is only out of one broker's reach, and what is said again."""

from __future__ import annotations

from typing import Any

from controller_world import START_MS, FakeWorker, World, graph

from controller import events as ev
from liquefy import messages as m
from liquefy.effects import Relay, ToBroker

LINKS = (0, 1)


class Two(World):
    """Each worker has a session at each broker: `name#<link>`, and began at `started[name]`."""

    def __init__(self, **config: Any) -> None:
        self.started: dict[str, int] = {}
        self.reach: dict[str, set[int]] = {}
        """By which brokers each worker is there."""
        self.linked: set[int] = set()
        self.sent: list[tuple[int, Any]] = []
        super().__init__(brokers="tcp://a:1,tcp://b:1", **config)

    def start(self) -> None:
        self.feed(ev.Tick())
        for link in LINKS:
            self.up(link)

    def up(self, link: int) -> None:
        self.linked.add(link)
        self.feed(ev.Up(b"controller#%d" % link, link))

    def down(self, link: int) -> None:
        self.linked.discard(link)
        self.feed(ev.Down(link))

    def perform(self, effect: Any) -> None:
        if isinstance(effect, ToBroker):
            self.effects.append(effect)
            self.sent.append((effect.link, effect.message))
            self._said(effect.link, effect.message)
        elif isinstance(effect, Relay):
            self.effects.append(effect)
            name = effect.to.decode().split("#")[0]
            assert effect.to.partition(b"#")[2].startswith(b"%d" % effect.link), "by the broker that has the session"
            if name in self.workers and effect.link in self.reach[name]:
                self._relay(Relay(self.workers[name].session, effect.message))
        else:
            super().perform(effect)

    def _said(self, link: int, message: Any) -> None:
        if isinstance(message, m.Hello):
            self.feed(ev.FromBroker(m.Welcome("broker", [], 10_000), link))
            for name in sorted(self.workers):
                if link in self.reach[name]:
                    self.feed(self._up_of(name, link))
        elif isinstance(message, m.Assign):
            for partition, epoch, node in message.claims:
                if node in self.workers and link in self.reach[node]:
                    self.workers[node].owned[partition] = epoch
                    self.feed(ev.FromBroker(m.Landed(partition, epoch, node), link))

    def _up_of(self, name: str, link: int) -> ev.FromBroker:
        claims = [m.Claim(p, e) for p, e in self.workers[name].owned.items()]
        session = b"%s#%d" % (name.encode(), link)
        return ev.FromBroker(m.PeerUp("worker", name, session, claims, 1.0, "", self.started[name]), link)

    def join(self, name: str) -> FakeWorker:
        self.workers[name] = FakeWorker(name, name.encode() + b"#0")
        self.started[name], self.reach[name] = self.now_ms, set()
        for link in LINKS:
            self.reached(name, link)
        return self.workers[name]

    def reached(self, name: str, link: int) -> None:
        self.reach[name].add(link)
        self.feed(self._up_of(name, link))

    def unreached(self, name: str, link: int) -> None:
        self.reach[name].discard(link)
        self.feed(ev.FromBroker(m.PeerDown("worker", name, b"%s#%d" % (name.encode(), link)), link))

    def said(self, worker: FakeWorker, message: Any) -> None:
        for link in sorted(self.reach[worker.name] & self.linked):
            self.feed(ev.FromNode(b"%s#%d" % (worker.name.encode(), link), message, link))

    def _move(self, worker: FakeWorker, move: m.Move) -> None:
        """By hand."""

    def states(self) -> dict[str, tuple[str, int]]:
        return {n["name"]: (n["state"], len(n["brokers"])) for n in self.result("nodes")}

    def told(self, kind: type) -> list[tuple[int, Any]]:
        found = [(link, message) for link, message in self.sent if isinstance(message, kind)]
        self.sent.clear()
        return found


def two(nodes: int = 2) -> Two:
    world = Two()
    for i in range(1, nodes + 1):
        world.join(f"node{i}")
    world.run(1_500)
    world.deploy(graph())
    world.sent.clear()
    world.effects.clear()
    return world


def test_what_is_placed_is_said_to_both_brokers() -> None:
    world = Two()
    world.join("node1")
    world.run(1_500)
    world.deploy(graph())
    assigned = world.told(m.Assign)
    assert {link for link, _ in assigned} == {0, 1}
    assert assigned[0][1] == assigned[1][1]
    assert world.states() == {"node1": ("up", 2)}


def test_a_process_whose_clock_was_set_back_is_the_one_that_lives_when_the_other_is_gone() -> None:
    world = two()
    world.workers["node1"].owned.clear()
    world.started["node1"] -= 5_000  # another process, on a clock that was set
    world.unreached("node1", 1)
    world.reached("node1", 1)
    assert world.states()["node1"] == ("up", 1)  # the other broker has yet to notice
    world.unreached("node1", 0)
    world.reached("node1", 0)
    world.run(1_000)
    assert world.states() == {"node1": ("up", 2), "node2": ("up", 2)}


def test_what_was_passed_over_and_is_gone_is_not_taken_up() -> None:
    world = two()
    world.started["node1"] -= 5_000
    world.unreached("node1", 1)
    world.reached("node1", 1)
    world.unreached("node1", 1)
    world.unreached("node1", 0)
    world.run(1_000)
    assert world.states()["node1"] == ("gone", 0)


def test_what_a_broker_says_of_a_process_that_is_no_more_does_not_count() -> None:
    """The other broker has told of the next process, which loads its code yet."""
    world = two(nodes=1)
    owned = dict(world.workers["node1"].owned)
    world.workers["node1"].owned.clear()
    world.workers["node1"].prepares = False
    world.unreached("node1", 1)
    world.started["node1"] += 5_000
    world.reached("node1", 1)
    for partition, epoch in owned.items():
        world.feed(ev.FromBroker(m.Landed(partition, epoch, "node1"), 0))
    world.unreached("node1", 0)
    world.reached("node1", 0)
    world.workers["node1"].prepares = True
    for name in sorted({partition.split("/")[0] for partition in owned}):
        world.said(world.workers["node1"], m.Prepared(name, 1, ""))
    world.run(3_000)
    assert world.workers["node1"].owned.keys() == owned.keys()


def test_what_a_broker_has_routed_to_a_session_that_is_gone_is_assigned_again() -> None:
    """It has not noticed that yet when the controller connects, and says that the node has it; the node never heard."""
    world = two(nodes=1)
    worker = world.workers["node1"]
    claims = [m.Claim(p, e) for p, e in worker.owned.items()]
    lost = claims[0].partition
    for link in LINKS:
        world.down(link)
    world.reach["node1"] = set()
    world.up(1)
    world.feed(ev.FromBroker(m.PeerUp("worker", "node1", b"node1#1-old", claims, 1.0, "", world.started["node1"]), 1))
    del worker.owned[lost]
    world.reach["node1"] = {0}
    world.up(0)
    world.said(worker, m.Inventory([m.Claim(p, e) for p, e in worker.owned.items()]))
    world.run(1_500)
    world.feed(ev.FromBroker(m.PeerDown("worker", "node1", b"node1#1-old"), 1))
    world.reached("node1", 1)
    world.run(6_000)
    assert lost in worker.owned


def test_a_node_that_one_broker_has_not_is_not_gone_and_its_code_is_asked_for_by_the_other() -> None:
    world = two()
    world.effects.clear()
    world.unreached("node1", 0)
    world.run(3_000)
    assert world.states() == {"node1": ("up", 1), "node2": ("up", 2)}
    assert not world.events("lost")
    said = [(e.to, type(e.message)) for e in world.effects if isinstance(e, Relay) and e.to.startswith(b"node1")]
    assert (b"node1#1", m.Graphs) in said
    assert (b"node1#1", m.Recheck) in said
    world.reached("node1", 0)
    assert world.states()["node1"] == ("up", 2)
    assert not world.events("lost")


def test_a_node_that_no_broker_has_is_gone() -> None:
    world = two()
    world.unreached("node1", 0)
    world.unreached("node1", 1)
    world.run(1_000)
    assert world.states()["node1"] == ("gone", 0)
    assert set(world.owners().values()) == {"node2"}


def test_a_session_that_is_silent_is_expelled_at_its_broker_and_the_node_lives() -> None:
    world = two()
    world.reach["node1"] = {1}  # the first broker has not noticed
    world.run(3_000)
    assert [(link, e.session) for link, e in world.told(m.Expel)] == [(0, b"node1#0")]
    assert world.states()["node1"] == ("up", 1)
    assert not world.events("lost")


def test_a_node_that_says_nothing_by_any_broker_hangs() -> None:
    world = two()
    world.workers["node1"].reports = False
    world.run(3_000)
    assert sorted(link for link, _ in world.told(m.Expel)) == [0, 1]
    assert world.states()["node1"][0] == "hung"
    assert set(world.owners().values()) == {"node2"}


def test_the_next_process_of_a_name_has_forgotten_what_the_last_one_had() -> None:
    """The second broker still has the former session, when the first one has the next."""
    world = two()
    world.run(100)
    next_one = m.PeerUp("worker", "node1", b"node1#0-next", [], 1.0, "", world.now_ms)
    world.feed(ev.FromBroker(next_one, 0))
    assert world.events("left")
    world.feed(ev.FromBroker(m.PeerUp("worker", "node1", b"node1#1", [], 1.0, "", START_MS), 1))
    assert world.states()["node1"] == ("up", 1), "that of the former process does not count"
    world.run(1_000)
    assert world.events("lost")


def test_a_broker_that_goes_takes_nobody_along() -> None:
    world = two()
    world.down(0)
    world.run(3_000)
    assert world.states() == {"node1": ("up", 1), "node2": ("up", 1)}
    assert world.result("status")["brokers"] == [
        {"address": "tcp://a:1", "ok": False}, {"address": "tcp://b:1", "ok": True}
    ]  # fmt: skip
    assert world.result("status")["broker_ok"] is True
    world.up(0)
    assert world.states() == {"node1": ("up", 2), "node2": ("up", 2)}
    assert not world.events("lost")


def test_who_was_only_at_a_broker_that_went_and_comes_to_no_other_is_gone() -> None:
    world = two()
    world.unreached("node1", 1)
    world.down(0)
    world.run(1_000)
    assert world.states()["node1"][0] == "up", "it has time to come to the other one"
    world.run(2_000)
    assert world.states()["node1"][0] != "up"
    assert set(world.owners().values()) == {"node2"}


def test_orphans_of_a_broker_that_the_owner_is_not_connected_to_are_none() -> None:
    world = two()
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    world.unreached("node1", 0)
    world.run(3_000)
    world.sent.clear()
    world.feed(ev.FromBroker(m.Orphans([partition]), 0))
    assert world.told(m.Assign) == []
    world.feed(ev.FromBroker(m.Orphans([partition]), 1))
    assert [link for link, _ in world.told(m.Assign)] == [0, 1]


def test_a_move_is_over_when_both_brokers_have_said_so_with_what_both_have_held() -> None:
    world = two()
    partition = next(p for p, owner in world.owners().items() if owner == "node1")
    asked = world.ask("migrate", what=partition, node="node2")
    world.run(100)
    epoch = world.store.placements[partition].epoch + 1
    world.store.placements[partition] = world.store.placements[partition]._replace(owner="node2", epoch=epoch)
    world.feed(ev.FromBroker(m.Landed(partition, epoch, "node2", 2, 1_500), 1))
    assert not world.answered(asked)
    world.feed(ev.FromBroker(m.Landed(partition, epoch, "node2", 3, 900), 0))
    assert world.answered(asked)
    [move] = world.reply(asked).result["moves"]
    assert (move["pause_ms"], move["held"]) == (1.5, 5)


def test_graphs_are_numbered_so_that_the_latest_counts() -> None:
    world = two(1)
    graphs = [e.message for e in world.effects if isinstance(e, Relay) and isinstance(e.message, m.Graphs)]
    world.unreached("node1", 0)
    graphs += [e.message for e in world.effects if isinstance(e, Relay) and isinstance(e.message, m.Graphs)]
    numbers = [g.number for g in graphs]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 0
