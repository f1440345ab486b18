"""Explains why the kernel cannot execute a file: a text, a program for other processors, a missing interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable

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
_ELF = b"\x7fELF"
_ELF_HEADER_MIN = 64
_PT_INTERP = 3
_GZIP = b"\x1f\x8b"
# Number of bytes that are shown of a file that is no text.
_BYTES = 8


def describe_program(path: str, head: bytes, own_head: bytes, exists: Callable[[str], bool]) -> str | None:
    """Return why the kernel cannot execute the file ``path``, None if it can; for a program that failed at once.

    ``head`` is the beginning of the file, ``own_head`` that of a program that runs on this node. ``exists`` tells
    whether there is a file at a path.
    """
    machine, own = _machine(head), _machine(own_head)
    if machine is None and not head.startswith(b"#!"):
        return _describe_text(path, head)
    if None not in (machine, own) and machine != own and (own, machine) not in _COMPATIBLE:
        return f"{path} is a program for {machine} processors, and this node has {own}"
    interpreter = _loader(head) if machine is not None else _script_interpreter(head)
    if interpreter and not exists(interpreter):
        return f"{path} needs {shown(interpreter)} to run, which does not exist"
    return None


def _describe_text(path: str, head: bytes) -> str:
    if not head:
        return f"{path} is empty"
    text = head.decode(errors="replace")
    begins = first_line(text)
    if not re.fullmatch(rb"[\t\n\r -~\x80-\xff]*", head[:_BYTES]) or "\ufffd" in text[:_BYTES]:
        begins = f"the bytes {head[:_BYTES].hex(' ')}"
    is_page = re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE) is not None
    like = ", like a saved web page" if is_page else ", like a gzip archive" if head.startswith(_GZIP) else ""
    return f"{path} is neither a program nor a script: it begins with {begins}{like}"


def first_line(text: str) -> str:
    """Return the first line of ``text`` that is not blank, for a message."""
    return shown(next((line.strip() for line in text.splitlines() if line.strip()), text))


def _machine(head: bytes) -> str | None:
    """Return the processor of the ELF file that begins with ``head``, None if it is no ELF file."""
    if len(head) < _ELF_HEADER_MIN or not head.startswith(_ELF):
        return None
    number = _number(head, 18, 2)
    return _MACHINES.get(number, f"machine {number}")


def _loader(head: bytes) -> str:
    """Return the loader that an ELF file names, "" for none (a static program) and for one beyond ``head``."""
    is_64 = head[4] == 2  # noqa: PLR2004 - EI_CLASS is ELFCLASS64
    table, size, count = (
        (_number(head, 32, 8), _number(head, 54, 2), _number(head, 56, 2))
        if is_64
        else (_number(head, 28, 4), _number(head, 42, 2), _number(head, 44, 2))
    )
    for start in range(table, min(table + size * count, len(head)), size or 1):
        if _number(head, start, 4) == _PT_INTERP:
            place = _number(head, start + 8, 8) if is_64 else _number(head, start + 4, 4)
            return head[place:].partition(b"\0")[0].decode(errors="surrogateescape")
    return ""


def _script_interpreter(head: bytes) -> str:
    line = head[2:].partition(b"\n")[0].strip(b" \t")
    return re.split(rb"[ \t]", line, maxsplit=1)[0].decode(errors="surrogateescape")


def _number(head: bytes, start: int, size: int) -> int:
    """Return a number in the header of an ELF file, whose byte order is that of the file."""
    return int.from_bytes(head[start : start + size], "big" if head[5] == 2 else "little")  # noqa: PLR2004 - ELFDATA2MSB
