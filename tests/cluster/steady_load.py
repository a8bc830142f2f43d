"""Load on a service that counts, from a thread of its own, with a book: what was acknowledged, for whom, when.

Each request has an idempotency key and is tried again until it is answered. So at the end the context of each user must
hold exactly the number of requests made for that user, and the answers must be 1, 2, 3 ... n, each once: `check` says
where they do not. Requests of one user that are under way at the same time go by connections of their own, and those
have no order: which of them counts first nobody has promised. One that begins when another was answered counts after
it. A share of them may go without a key, and once: what the cluster itself doubles no key hides then. When the service
was away is told from how long answers took.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from examples import loadclient

GIVE_UP_S = 60.0
SLOW_S = 0.4
"""An answer that took longer was waiting for something that was away."""

TICK_S = 0.002
CONNECTIONS = 256
OPEN_MAX = 2 * CONNECTIONS
"""With so many requests unanswered no more are made: all that try again would leave little time to whatever else is
done in this process, and longer outages than there were would be seen."""


class Entry(NamedTuple):
    """One request. Times are `time.perf_counter`; `number` is what the service counted, 0 if it did not answer."""

    user: str
    due_s: float
    answered_s: float
    status: int
    number: int
    before: int
    tries: int
    keyed: bool = True
    unsure: bool = True
    """Of one without a key and without a number: it may have counted."""


class Verdict(NamedTuple):
    """Requests made; of those acknowledged so many are missing in the contexts, so many more are in them than were
    made, and so many answers were out of order (or not even numbers). `failed`: requests with a key never answered with
    200. Whether these took effect nobody was told, so each may be in the contexts once, or not; so may one without a
    key, unless it was turned away."""

    requests: int
    lost: int
    doubled: int
    reordered: int
    failed: int
    examples: list[str]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.reordered or self.failed)


class Outage(NamedTuple):
    """After a moment: seconds without any good answer; and until no answer was late any more (if none was, the longest
    that anybody waited)."""

    silence_s: float
    back_s: float


class SteadyLoad:
    """`rate` requests a second for `users` users, from `start` to `stop`, at `url`, or in turn at each of those. A
    context manager, which stops. `patience`: so many times longer an answer may take, and is tried for. `keyless`: each
    so manieth request has no key (0: none)."""

    def __init__(
        self,
        url: str | list[str],
        rate: float = 250.0,
        users: int = 100,
        seed: int = 1,
        path: str = "/{user}",
        patience: float = 1.0,
        keyless: int = 0,
    ) -> None:
        self.entries: list[Entry] = []
        self.started = 0
        self.statuses: Counter[int] = Counter()
        """Final ones."""
        self._urls = [url] if isinstance(url, str) else url
        self._rate, self._path = rate, path
        self._keyless = keyless
        self._slow_s, self._give_up_s = SLOW_S * patience, GIVE_UP_S * patience
        self._chance = random.Random(seed)
        self._users = [f"u{seed}-{i}" for i in range(users)]
        self._highest: Counter[str] = Counter()
        self._due: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.client: loadclient.Client

    def __enter__(self) -> SteadyLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more requests; returns when all have been answered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._give_up_s + 2 * loadclient.TRY_TIMEOUT_S)

    @property
    def answered(self) -> int:
        return len(self.entries)

    def open_since(self) -> list[float]:
        """When those were due that have no answer yet."""
        return list(self._due.values())

    def settled(self, since_s: float, calm_s: float) -> bool:
        """Whether all that was due before `calm_s` ago, or in between, is answered, and since then nothing is late."""
        now = time.perf_counter()
        if now - since_s < calm_s or any(due < now - self._slow_s for due in list(self._due.values())):
            return False
        return any(e.status == 200 for e in self._latest(now - calm_s)) and not any(
            e.answered_s - e.due_s > self._slow_s for e in self._latest(now - calm_s)
        )

    def outage(self, since_s: float) -> Outage:
        """What somebody who made a request noticed from `since_s` on, until now."""
        late = back = since_s
        silence = longest = 0.0
        for entry in sorted(self._latest(since_s - self._slow_s), key=lambda e: e.answered_s):
            if entry.answered_s < since_s or entry.status != 200:
                continue
            silence, late = max(silence, entry.answered_s - late), entry.answered_s
            if entry.answered_s - entry.due_s > self._slow_s:
                back = entry.answered_s
            longest = max(longest, entry.answered_s - max(entry.due_s, since_s))
        return Outage(silence, max(back - since_s, longest))

    def check(self, contexts: Mapping[str, Mapping[str, object]], field: str = "visits") -> Verdict:
        """Against what the contexts hold. To be called after `stop`."""
        numbers: dict[str, list[int]] = {user: [] for user in self._users}
        unsure: Counter[str] = Counter()
        lost = doubled = reordered = failed = 0
        examples: list[str] = []
        for entry in self.entries:
            if not entry.keyed and entry.status != 200:
                unsure[entry.user] += entry.unsure
                continue
            if entry.status != 200 or not entry.number:
                unsure[entry.user] += 1
                failed += 1
                examples.append(f"{entry.user}: status {entry.status} after {entry.answered_s - entry.due_s:.2f} s")
                continue
            numbers[entry.user].append(entry.number)
            if entry.number <= entry.before:
                reordered += 1
                examples.append(f"{entry.user}: {entry.number} was asked for after {entry.before} was answered")
        for user, got in numbers.items():
            held = contexts.get(user, {}).get(field, 0)
            assert isinstance(held, int)
            lost += max(0, len(got) - held)
            doubled += max(0, held - len(got) - unsure[user])
            if not 0 <= held - len(got) <= unsure[user]:
                told = f"{len(got)} were acknowledged, {unsure[user]} not answered"
                examples.append(f"{user}: {told}, {held} are in the context")
            elif len(set(got)) != len(got):
                reordered += len(got) - len(set(got))
                examples.append(f"{user}: some numbers were answered twice")
        failed += self.started - len(self.entries)
        return Verdict(self.started, lost, doubled, reordered, failed, examples)

    @property
    def users(self) -> list[str]:
        return self._users

    def _latest(self, since_s: float) -> list[Entry]:
        """Those answered since."""
        found = []
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].answered_s < since_s:
                break
            found.append(self.entries[index])
        return found

    async def _run(self) -> None:
        self.client = loadclient.Client(self._urls, connections=CONNECTIONS, give_up_s=self._give_up_s)
        begin = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            if len(self._due) >= OPEN_MAX:
                begin = time.perf_counter() - self.started / self._rate
            while self.started < (time.perf_counter() - begin) * self._rate and len(self._due) < OPEN_MAX:
                task = asyncio.create_task(self._one(self.started, begin + self.started / self._rate))
                self.started += 1
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(TICK_S)
        if tasks:
            await asyncio.gather(*tasks)
        self.client.close()

    async def _one(self, index: int, due_s: float) -> None:
        user = self._chance.choice(self._users)
        before = self._highest[user]
        self._due[index] = due_s
        keyed = not self._keyless or index % self._keyless != 0
        key = self.client.new_key() if keyed else ""
        answer = await self.client.ask("GET", self._path.format(user=user), key=key, due=due_s)
        del self._due[index]
        body = answer.json() if answer.status == 200 else None
        number = body.get("visits", 0) if isinstance(body, dict) else 0
        self._highest[user] = max(self._highest[user], number)
        self.statuses[answer.status] += 1
        now_s, status, unsure = time.perf_counter(), answer.status, answer.unsure
        self.entries.append(Entry(user, due_s, now_s, status, number, before, answer.tries, keyed, unsure))
