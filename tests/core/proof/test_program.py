"""Tests of the reasons why the kernel does not execute a file."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.proof.program import describe_program


def elf(machine: int, *, big: bool = False, loader: str = "", bits: int = 64) -> bytes:
    """Return the beginning of an ELF file for a processor; it names a loader unless it is static."""
    order = ">" if big else "<"
    head = b"\x7fELF" + bytes([bits // 32, 2 if big else 1, 1]) + bytes(9)
    if bits == 64:
        head += struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        head += struct.pack(f"{order}IIQQQQQQ", 1, 0, 0, 0, 0, 0, 0, 0)
        head += struct.pack(f"{order}IIQQQQQQ", 3 if loader else 1, 0, 176, 0, 0, 0, 0, 0)
    else:
        head += struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        head += struct.pack(f"{order}IIIIIIII", 3 if loader else 1, 84, 0, 0, 0, 0, 0, 0)
    return head + loader.encode() + b"\0and more"


GZIP = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0])
X86_64, I386, AARCH64, ARM, S390X, RISCV = 62, 3, 183, 40, 22, 243


@pytest.mark.parametrize(
    ("head", "own", "reason"),
    [
        (elf(X86_64), elf(X86_64), None),
        (elf(AARCH64), elf(X86_64), "/b is a program for aarch64 processors, and this node has x86_64"),
        (elf(X86_64), elf(AARCH64), "/b is a program for x86_64 processors, and this node has aarch64"),
        (elf(S390X, big=True), elf(RISCV), "/b is a program for s390x processors, and this node has riscv64"),
        (elf(9999), elf(X86_64), "/b is a program for machine 9999 processors, and this node has x86_64"),
        # The kernel of this node executes these, too.
        (elf(I386), elf(X86_64), None),
        (elf(ARM), elf(AARCH64), None),
        (b"#!/bin/sh\n", elf(X86_64), None),
        (b"", elf(X86_64), "/b is empty"),
        (
            b"\n<!DOCTYPE html>\n<html><title>404</title>",
            elf(X86_64),
            '/b is neither a program nor a script: it begins with "<!DOCTYPE html>", like a saved web page',
        ),
        (
            b"Not Found",
            elf(X86_64),
            '/b is neither a program nor a script: it begins with "Not Found"',
        ),
        # A header that is cut off is no program either.
        (b"\x7fELF", elf(X86_64), "/b is neither a program nor a script: it begins with the bytes 7f 45 4c 46"),
        (
            GZIP + b"more",
            elf(X86_64),
            f"/b is neither a program nor a script: it begins with the bytes {GZIP.hex(' ')}, like a gzip archive",
        ),
        (elf(X86_64, loader="/lib/there"), elf(X86_64), None),
        (elf(X86_64, loader="/lib/ld-musl"), elf(X86_64), '/b needs "/lib/ld-musl" to run, which does not exist'),
        (elf(I386, loader="/lib/ld-2", bits=32), elf(X86_64), '/b needs "/lib/ld-2" to run, which does not exist'),
        (
            elf(S390X, big=True, loader="/lib/ld64"),
            elf(S390X, big=True),
            '/b needs "/lib/ld64" to run, which does not exist',
        ),
        (b"#! /usr/bin/python9 -E\nx", elf(X86_64), '/b needs "/usr/bin/python9" to run, which does not exist'),
        # A script that was edited on Windows.
        (b"#!/bin/sh\r\n", elf(X86_64), '/b needs "/bin/sh\\r" to run, which does not exist'),
        # Its own header is not known.
        (elf(AARCH64), b"", None),
    ],
)
def test_a_file_is_explained(head: bytes, own: bytes, reason: str | None) -> None:
    there = {"/bin/sh", "/lib/there"}
    assert describe_program("/b", head, own, there.__contains__) == reason


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_explained(data: bytes, length: int) -> None:
    for head in (data, elf(X86_64, loader="/lib/there")[:length], b"\x7fELF" + data, elf(X86_64)[:60] + data):
        reason = describe_program("/b", head, elf(X86_64), lambda _: False)
        assert reason is None or reason.startswith("/b ")
