"""One question to the controller, and its answer: finds the endpoint, sends one request, waits for what comes
back.

Knows the envelope of `liquefy.control`, not the commands. A controller that is away is told from one that
takes its time: while an answer is outstanding it is asked for its status, and one that started after the
question was put has forgotten it."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ctl import record
from liquefy import curve
from liquefy.config import CONTROL_DEFAULT
from liquefy.control import Reply, Request, decode_reply, encode
from liquefy.errors import LiquefyError, UserError
from liquefy.keyring import FOLDER_DEFAULT, Keyring
from liquefy.transport import Asker, Denied, Silent

CONNECT_S = 2.0
"""How long a TCP connection to the controller may take before it counts as unreachable."""

PULSE_S = 2.0
"""After so much silence a controller that owes an answer is asked whether it lives."""

SILENCE_MAX_S = 10.0
"""A controller that says nothing at all for so long counts as hung."""

UPTIME_TOLERANCE_S = 0.2
"""How far the two clocks, and the rounding of an uptime, may be apart."""

DEFAULT = "the default"
"""Who says where the controller is, where nobody does."""

LEADER_S = 10.0
"""How long one is looked for who leads, of several controllers."""

TICK_S = 0.2
"""How often the one who waits is told that we still wait."""


class Unreachable(LiquefyError):
    """No controller answers; `str()` is the whole message, remedy included. Exit code 3."""


class Refused(LiquefyError):
    """The controller was asked and said no, or failed. Exit code 1."""


class Barred(Refused):
    """The controller asks for keys that are not here, or do not fit: nothing was asked."""


class Lost(LiquefyError):
    """The controller went away after it was asked: whether it was done is not known. Exit code 3."""

    definite = False


def endpoint(flag: str | None, environment: Mapping[str, str], folder: Path) -> tuple[str, str]:
    """Where the controller is, and who says so: the flag, LIQUEFY_CONTROLLER, the cluster that `up` runs from
    `folder` or one of its parents, the default. Raises UserError for what is no endpoint."""
    if flag:
        return _checked(flag, "--controller")
    if environment.get("LIQUEFY_CONTROLLER"):
        return _checked(environment["LIQUEFY_CONTROLLER"], "LIQUEFY_CONTROLLER")
    found = record.find(folder)
    if found is not None and record.alive(found[1]):
        return found[1].controller, str(found[0] / record.FILE_NAME)
    return CONTROL_DEFAULT, DEFAULT


def _checked(value: str, source: str) -> tuple[str, str]:
    """One endpoint, or several with commas between them."""
    for one in value.split(","):
        parts = urlsplit(one)
        try:
            usable = (parts.scheme == "tcp" and parts.hostname and parts.port) or (parts.scheme == "ipc" and parts.path)
        except ValueError:
            usable = False
        if not usable:
            raise UserError(f"{source}: {one!r} is no endpoint\n  remedy: write it like {CONTROL_DEFAULT}")
    return value, source


def keys_folder(address: str, environment: Mapping[str, str], folder: Path) -> tuple[str, bool]:
    """Where the operator's key for that controller is, "" for none, and whether that is sure: LIQUEFY_KEYS, what `up`
    noted of the cluster that it runs; else `.liquefy-keys` in `folder` or one of its parents."""
    if environment.get("LIQUEFY_KEYS"):
        return environment["LIQUEFY_KEYS"], True
    found = record.find(folder)
    if found and set(address.split(",")) & set(found[1].controller.split(",")) and record.alive(found[1]):
        return found[1].keys, True
    near = (above / FOLDER_DEFAULT for above in (folder, *folder.parents))
    return str(next((each for each in near if each.is_dir()), "")), False


class Controller:
    """A connection to the controller; of several (`addresses`, with commas between them) to the one that leads.
    `source` says where they came from, for messages; `keys` is the folder with the operator's key. Unless `insisted`, a
    controller of this machine that has no keys is spoken to without. Raises Unreachable at once if nothing listens
    there, Refused if the keys do not fit."""

    def __init__(
        self, addresses: str, source: str = "--controller", keys: str = "", insisted: bool = True
    ) -> None:
        self._addresses, self.source = addresses.split(","), source
        self._given, self._insisted = keys, insisted
        self._ids = itertools.count(1)
        self.keys: Keyring | None = None
        self._connect(self._addresses)

    @classmethod
    def found(cls, flag: str | None = None) -> Controller:
        """The controller that this command is meant for, see `endpoint`."""
        address, source = endpoint(flag, os.environ, Path.cwd())
        if source == DEFAULT and (idle := record.idle(Path.cwd())) is not None:
            print(f"note: the cluster of {idle} does not run; this asks {address}", file=sys.stderr)
        return cls(address, source, *keys_folder(address, os.environ, Path.cwd()))

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        progress: Callable[[str], None] = lambda _: None,
        silence_s: float = SILENCE_MAX_S,
    ) -> Any:
        """The result of one command. `progress` is told each line of progress, and "" every TICK_S while
        there is none. Raises Refused, Unreachable, Lost."""
        for reply in self._replies(command, arguments or {}, progress, silence_s):
            if reply.progress:
                progress(reply.progress)
            if reply.end:
                return reply.result
        raise AssertionError("replies end with an end")

    def follow(self, command: str, arguments: Mapping[str, Any]) -> Iterator[Any]:
        """The items of a stream, until the controller ends it. Raises Refused, Unreachable, Lost."""
        for reply in self._replies(command, arguments, lambda _: None, SILENCE_MAX_S):
            if reply.item is not None:
                yield reply.item

    def _replies(
        self, command: str, arguments: Mapping[str, Any], tick: Callable[[str], None], silence_s: float
    ) -> Iterator[Reply]:
        asked_s = heard_s = pulsed_s = time.monotonic()
        request = next(self._ids)
        pulses: dict[int, float] = {}
        self._send(Request(request, command, dict(arguments)))
        while True:
            reply = self._receive(TICK_S)
            now_s = time.monotonic()
            if reply is not None:
                heard_s = now_s
                if reply.id == request:
                    if reply.elsewhere and now_s - asked_s < LEADER_S:
                        self._go_on(reply.elsewhere)
                        self._send(Request(request, command, dict(arguments)))
                        continue
                    if reply.error:
                        # Of what a person did not name it is to be told: it may be another cluster's.
                        guessed = self.source == DEFAULT
                        raise Refused(reply.error + (f"\n  asked: {self.where}" if guessed else ""))
                    yield reply
                    if reply.end:
                        return
                elif reply.id in pulses:
                    # When the pulse was sent it must have been up for longer than we have been waiting.
                    waited_s = pulses.pop(reply.id) - asked_s
                    if reply.elsewhere:
                        raise Lost(f"the controller at {self.address} leads no more: {command}: {ASK_AGAIN}")
                    if (reply.result or {}).get("uptime_s", waited_s) < waited_s - UPTIME_TOLERANCE_S:
                        raise Lost(
                            f"the controller at {self.address} started anew while it worked on {command}: {ASK_AGAIN}"
                        )
                continue
            tick("")
            if now_s - heard_s > silence_s:
                raise Unreachable(self._silent(silence_s))
            if now_s - heard_s > PULSE_S and now_s - pulsed_s > PULSE_S:
                pulsed_s = now_s
                if len(self._addresses) > 1 and _refused(self.address):
                    raise Lost(f"the controller at {self.address} is gone: {command}: {ASK_AGAIN}")
                pulse = next(self._ids)
                pulses[pulse] = now_s
                self._send(Request(pulse, "status"))

    @property
    def where(self) -> str:
        """For people: which controller, and who says so."""
        return f"the controller at {self.address} (from {self.source})"

    def _silent(self, silence_s: float) -> str:
        if not self._greeted:
            return (
                f"what listens at {self.address} (from {self.source}) has not answered for {silence_s:g} s, nor has it "
                "greeted as a controller does\n  remedy: say where the controller is with --controller or "
                "LIQUEFY_CONTROLLER; if it is there and hangs, end it: `up` starts it again"
            )
        return (
            f"the controller at {self.address} has not answered for {silence_s:g} s\n"
            "  remedy: look at its log (logs/controller.log in the state folder); if it hangs, end it: "
            "`up` starts it again"
        )

    def close(self) -> None:
        self._asker.close()

    def _send(self, request: Request) -> None:
        self._asker.send(encode(request))

    def _receive(self, timeout_s: float) -> Reply | None:
        data = self._asker.recv(timeout_s)
        return None if data is None else decode_reply(data)

    def _go_on(self, elsewhere: str) -> None:
        """Ask there, if somebody listens; else the next one of those that were given."""
        time.sleep(TICK_S if elsewhere == self.address else 0)
        index = self._addresses.index(self.address) + 1 if self.address in self._addresses else 0
        others = self._addresses[index:] + self._addresses[:index]
        there = [elsewhere] if elsewhere != self.address else []
        self._asker.close()
        self._connect(there + others)

    def _connect(self, addresses: list[str]) -> None:
        """To the first one where somebody listens. ZeroMQ connects to nobody without complaint, so that it is found out
        here."""
        for address in addresses:
            mechanism, error = _knocked(address)
            if not error:
                self.address, self._greeted = address, bool(mechanism) or not address.startswith("tcp:")
                self.keys = self._fitting(mechanism)
                try:
                    self._asker = Asker(address, self.keys)
                except Denied as denied:
                    raise Barred(str(denied)) from None
                except Silent as silent:
                    remedy = "its log says what it does (it may be overloaded, or hang); then ask again"
                    raise Unreachable(f"{silent}\n  remedy: {remedy}") from None
                return
        raise Unreachable(
            f"no controller answers at {', '.join(addresses)} (from {self.source}): {error}\n"
            "  remedy: start a cluster with `liquefy-ctl up`, or say where one is with --controller or "
            "LIQUEFY_CONTROLLER"
        )

    def _fitting(self, mechanism: str) -> Keyring | None:
        """The keys to use with a controller that demands this. Raises Refused where they are missing, or too many."""
        if mechanism == "CURVE" and not self._given:
            raise Barred(
                f"{self.where} asks for an operator's key\n"
                "  remedy: name the folder that has it, LIQUEFY_KEYS=FOLDER; `liquefy-ctl keys init` made it"
            )
        if mechanism == "NULL" and self._given:
            if not self._insisted and urlsplit(self.address).hostname in ("127.0.0.1", "localhost", "::1"):
                return None
            raise Barred(
                f"{self.where} has no keys, and is not spoken to without\n"
                f"  remedy: start it with keys; or unset LIQUEFY_KEYS, and move {self._given} away"
            )
        return Keyring.given(self._given, "operator")


def _refused(address: str) -> str:
    """Why nobody can be reached there, or ""."""
    return _knocked(address)[1]


def _knocked(address: str) -> tuple[str, str]:
    """Which mechanism is demanded there ("": it is not said), and why nobody can be reached ("": somebody can)."""
    parts = urlsplit(address)
    if parts.scheme != "tcp":
        return "", ""
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), CONNECT_S) as connection:
            mechanism = curve.mechanism_of(connection)
            return mechanism, "what listens there is something else" if mechanism == curve.OTHER else ""
    except OSError as error:
        return "", error.strerror or str(error)


ASK_AGAIN = "whether it was done is not known\n  remedy: look with `liquefy-ctl status`, then ask again"
