"""Which calls of the system the filter of hosts lets through, on each kind of processor: its program is run here."""

from __future__ import annotations

import errno
import struct

import pytest

from liquefy import confine

OWN, OTHER = 4711, 4712
KINDS = confine._NUMBERS


def verdict(machine: str, call: int, *arguments: int, audit: int = 0) -> str:
    """What the program for that machine makes of a call: "" if it goes to the kernel, else the error."""
    numbers = KINDS[machine]
    data = struct.pack("<iIQ6Q", call, audit or numbers.audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program, at, held = confine._program(numbers, OWN), 0, 0
    while True:
        what, if_so, if_not, value = program[at]
        at += 1
        if what == 0x20:
            held = int(struct.unpack_from("<I", data, value)[0])
        elif what == 0x15:
            at += if_so if held == value else if_not
        elif what == 0x35:
            at += if_so if held >= value else if_not
        else:
            assert what == 0x06
            return "" if value == 0x7FFF0000 else errno.errorcode[value & 0xFFFF]


@pytest.mark.parametrize("machine", KINDS)
def test_only_what_is_its_own_is_set(machine: str) -> None:
    numbers = KINDS[machine]
    for call in numbers.of_process:
        assert [verdict(machine, call, pid, 1) for pid in (0, OWN, OTHER, 1)] == ["", "", "EPERM", "EPERM"]
        assert verdict(machine, call, OTHER | OWN << 32) == verdict(machine, call, 2**64 - 1) == "EPERM"
    for call, process in ((numbers.setpriority, 0), (numbers.ioprio_set, 1)):
        assert [verdict(machine, call, process, pid) for pid in (0, OWN, OTHER)] == ["", "", "EPERM"]
        assert {verdict(machine, call, kind, 0) for kind in range(4) if kind != process} == {"EPERM"}


@pytest.mark.parametrize("machine", KINDS)
def test_limits_of_others_are_told_and_not_set(machine: str) -> None:
    call, limits = KINDS[machine].prlimit, 0x7F00_0000_0000
    assert verdict(machine, call, 0, 7, limits) == verdict(machine, call, OWN, 7, limits) == ""
    assert verdict(machine, call, OTHER, 7, 0, limits) == ""
    assert verdict(machine, call, OTHER, 7, limits) == verdict(machine, call, OTHER, 7, 8) == "EPERM"
    assert verdict(machine, call, OTHER | 1 << 32, 7, limits) == "EPERM"


@pytest.mark.parametrize("machine", KINDS)
def test_other_calls_go_through_and_other_kinds_of_call_do_not(machine: str) -> None:
    numbers = KINDS[machine]
    assert {verdict(machine, call, OTHER) for call in numbers.never} == {"EPERM"}
    decided = {*numbers.never, *numbers.of_process, numbers.prlimit, numbers.setpriority, numbers.ioprio_set}
    assert len(decided) == 13
    assert {verdict(machine, call, OTHER, OTHER, OTHER) for call in set(range(512)) - decided} == {""}
    assert verdict(machine, numbers.prlimit, 0, audit=0x40000003) == "ENOSYS"
    assert verdict(machine, 0x40000000 + numbers.prlimit, OTHER, 0, 1) == "ENOSYS"
