"""The filter as the kernel would run it: a small machine for its language, and every call of interest through it."""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Denied
from ostinato.tools.sandbox import syscall_filter
from ostinato.tools.sandbox.syscall_filter import (
    ALLOW,
    ARCHES,
    BEYOND_REACH,
    FAMILIES,
    KILL,
    MODES,
    OF_ITSELF,
    RANKS,
    REFUSED,
    SPECIAL,
    UNBOUNDED,
    X32_BIT,
)

program = cache(syscall_filter.program)

MACHINES = st.sampled_from(sorted(ARCHES))
NUMBERS = st.integers(0, 2**32 - 1)
SPECIALS = {
    machine: {call.on(machine) for call in (*SPECIAL, *BEYOND_REACH, *itertools.chain(*MODES.values()))}
    for machine in ARCHES
}


def verdict(code: bytes, *, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would answer."""
    padded = (*arguments, *(0 for _ in range(6 - len(arguments))))
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    at, accumulator = 0, 0
    for _ in range(len(code) // 8):
        operation, true, false, operand = struct.unpack_from("<HBBI", code, at * 8)
        match operation:
            case 0x20:
                accumulator = int.from_bytes(data[operand : operand + 4], "little")
            case 0x06:
                return int(operand)
            case 0x15:
                at += true if accumulator == operand else false
            case 0x35:
                at += true if accumulator >= operand else false
            case 0x45:
                at += true if accumulator & operand else false
            case _:
                raise AssertionError(f"operation {operation:#x}")
        at += 1
    raise AssertionError("ran off its end")


def refused(found: int) -> int | None:
    """The error that the caller sees."""
    return found & 0xFFFF if found & 0xFFFF0000 == 0x00050000 else None


def on(machine: str, number: int, *arguments: int, namespaces: bool = True) -> int:
    """The answer on a machine of its own kind."""
    return verdict(program(machine, namespaces=namespaces), arch=ARCHES[machine], number=number, arguments=arguments)


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("namespaces", [True, False])
def test_it_is_small(machine: str, *, namespaces: bool) -> None:
    assert len(program(machine, namespaces=namespaces)) < 1_000


@given(MACHINES, NUMBERS, NUMBERS)
def test_another_architecture_is_the_end(machine: str, arch: int, number: int) -> None:
    if arch != ARCHES[machine]:
        assert verdict(program(machine), arch=arch, number=number) == KILL


@given(st.integers(X32_BIT, 2**32 - 1))
def test_the_second_table_of_x86_is_the_end(number: int) -> None:
    assert on("x86_64", number) == KILL


@given(MACHINES, st.integers(0, 600), st.tuples(*(st.integers(0, 2**64 - 1) for _ in range(6))))
def test_every_other_call_is_allowed_whatever_its_arguments(
    machine: str, number: int, arguments: tuple[int, ...]
) -> None:
    listed = {call.on(machine) for call in REFUSED}
    found = on(machine, number, *arguments)
    if number in listed:
        assert refused(found) == errno.EPERM
    elif number not in SPECIALS[machine]:
        assert found == ALLOW


@given(MACHINES, st.integers(0, 2**64 - 1), st.sampled_from(["clone", "unshare"]))
def test_no_namespace_is_made(machine: str, flags: int, name: str) -> None:
    number = next(call.on(machine) for call in SPECIAL if call.name == name)
    assert number is not None
    makes = flags & (0x7E020000 | (0x80 if name == "unshare" else 0))
    assert refused(on(machine, number, flags)) == (errno.EPERM if makes else None)


@given(MACHINES, st.integers(0, 2**64 - 1))
def test_sockets_are_of_four_families(machine: str, family: int) -> None:
    number = next(call.on(machine) for call in SPECIAL if call.name == "socket")
    assert number is not None
    fine = family & 0xFFFFFFFF in FAMILIES  # the kernel reads an int
    assert refused(on(machine, number, family)) == (None if fine else errno.EAFNOSUPPORT)
    assert refused(on(machine, number, family, namespaces=False)) == errno.EAFNOSUPPORT


@given(MACHINES, st.integers(0, 2**32 - 1))
def test_nobody_types_on_a_terminal(machine: str, high: int) -> None:
    number = next(call.on(machine) for call in SPECIAL if call.name == "ioctl")
    assert number is not None
    for command in (0x5412, 0x541C):  # with any upper half, which the kernel ignores
        assert refused(on(machine, number, 0, high << 32 | command)) == errno.EPERM
    assert on(machine, number, 0, 0x5413) == ALLOW  # TIOCGWINSZ


@given(MACHINES, st.integers(0, 2**32 - 1), st.integers(0, 64))
def test_whoever_is_to_die_with_its_parent_does(machine: str, option: int, given_signal: int) -> None:
    number = next(call.on(machine) for call in SPECIAL if call.name == "prctl")
    assert number is not None
    expected = {9: None, 15: 0}.get(given_signal, errno.EPERM)  # SIGTERM: not done, and not refused
    assert refused(on(machine, number, 1, given_signal)) == expected
    if option != 1:
        assert on(machine, number, option, given_signal) == ALLOW


@given(MACHINES, st.integers(0, 0o7777), st.integers(0, 2**32 - 1), st.booleans())
def test_no_file_lends_its_owners_rights(machine: str, mode: int, flags: int, namespaces: bool) -> None:
    arguments = {"open": (0, flags, mode), "openat": (0, 0, flags, mode)}
    arguments |= {"mode second": (0, mode | 0o100000), "mode third": (0, 0, mode | 0o100000)}
    for place, calls in MODES.items():
        creates = flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY) or not place.startswith("open")
        for call in calls:
            if (number := call.on(machine)) is not None and (namespaces or call not in UNBOUNDED):
                found = refused(on(machine, number, *arguments[place], namespaces=namespaces))
                assert found == (errno.EPERM if creates and mode & (stat.S_ISUID | stat.S_ISGID) else None), call.name


@given(MACHINES, st.booleans())
def test_calls_that_no_filter_can_look_into_are_not_there(machine: str, namespaces: bool) -> None:
    for call in BEYOND_REACH:
        assert refused(on(machine, call.on(machine) or 0, namespaces=namespaces)) == errno.ENOSYS


def test_without_namespaces_more_is_refused() -> None:
    for machine in ARCHES:
        for call in UNBOUNDED:
            if (number := call.on(machine)) is not None:
                assert on(machine, number) == ALLOW
                assert refused(on(machine, number, namespaces=False)) == errno.EPERM


@given(MACHINES, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_without_namespaces_limits_and_turns_are_only_the_callers_own(machine: str, first: int, second: int) -> None:
    for call in OF_ITSELF:
        number = call.on(machine)
        assert number is not None
        assert on(machine, number, first) == ALLOW
        fine = first & 0xFFFFFFFF == 0  # the kernel reads an int
        assert refused(on(machine, number, first, namespaces=False)) == (None if fine else errno.EPERM)
    for call, user in RANKS.values():
        number = call.on(machine)
        assert number is not None
        fine = first & 0xFFFFFFFF != user and second & 0xFFFFFFFF == 0
        assert refused(on(machine, number, first, second, namespaces=False)) == (None if fine else errno.EPERM)
        assert on(machine, number, 1, 0, namespaces=False) == ALLOW
        assert refused(on(machine, number, user, 0, namespaces=False)) == errno.EPERM


def test_elsewhere_there_is_none() -> None:
    with pytest.raises(Denied, match="riscv64"):
        program("riscv64")


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    path = Path("/usr/include") / header
    text = path.read_text() if path.exists() else ""
    known = dict(re.findall(r"__NR(?:3264)?_(\w+)\s+(\d+)", text))
    for call in (
        *REFUSED,
        *SPECIAL,
        *BEYOND_REACH,
        *itertools.chain(*MODES.values()),
        *UNBOUNDED,
        *OF_ITSELF,
        *(each for each, _ in RANKS.values()),
    ):
        if call.name in known:
            assert int(known[call.name]) == call.on(machine), call.name
