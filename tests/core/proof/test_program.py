"""Tests of the reasons why the kernel does not execute a file."""

from __future__ import annotations

import struct

import pytest

from runtimed.core.proof.program import describe_program


def elf(machine: int, *, big: bool = False) -> bytes:
    """Return the header of an ELF file for a processor."""
    order = ">" if big else "<"
    return b"\x7fELF" + bytes([2, 2 if big else 1, 1]) + bytes(9) + struct.pack(f"{order}HHI", 2, machine, 1)


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
        (b"\x7fELF", elf(X86_64), '/b is neither a program nor a script: it begins with "\\u007fELF"'),
        # Its own header is not known.
        (elf(AARCH64), b"", None),
    ],
)
def test_a_file_is_explained(head: bytes, own: bytes, reason: str | None) -> None:
    assert describe_program("/b", head, own) == reason
