"""Explains why the kernel cannot execute a file: a text, or a program for other processors."""

from __future__ import annotations

import re

from runtimed.core.message_text import shown

# Values of e_machine in the header of an ELF file, see elf.h.
_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
# A kernel for the first executes programs for the second.
_COMPATIBLE = {("x86_64", "i386"), ("aarch64", "arm"), ("ppc64", "ppc")}
_ELF_HEADER_MIN = 20


def describe_program(path: str, head: bytes, own_head: bytes) -> str | None:
    """Return why the kernel cannot execute the file ``path``, None if it can; for a program that failed at once.

    ``head`` is the beginning of the file, ``own_head`` that of a program that runs on this node.
    """
    machine, own = _machine(head), _machine(own_head)
    if machine is not None:
        if own is None or machine == own or (own, machine) in _COMPATIBLE:
            return None
        return f"{path} is a program for {machine} processors, and this node has {own}"
    if head.startswith(b"#!"):
        return None
    if not head:
        return f"{path} is empty"
    text = head.decode(errors="backslashreplace")
    is_page = re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE) is not None
    return f"{path} is neither a program nor a script: it begins with {first_line(text)}" + (
        ", like a saved web page" if is_page else ""
    )


def first_line(text: str) -> str:
    """Return the first line of ``text`` that is not blank, for a message."""
    return shown(next((line.strip() for line in text.splitlines() if line.strip()), text))


def _machine(head: bytes) -> str | None:
    """Return the processor of the ELF file that begins with ``head``, None if it is no ELF file."""
    if len(head) < _ELF_HEADER_MIN or not head.startswith(b"\x7fELF"):
        return None
    number = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")  # noqa: PLR2004 - EI_DATA is ELFDATA2MSB
    return _MACHINES.get(number, f"machine {number}")
