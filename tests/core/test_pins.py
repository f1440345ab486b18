"""Tests of pins: what is rendered is read again, and a launcher records the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.launchers import SHELLS, Launcher, new_node
from hypothesis import example, given
from hypothesis import strategies as st

from runtimed.core.pins import OTHER_FILE, Pin, pin_file, read_pins, render_pin
from runtimed.core.table.launcher import make_launcher

FIELD = st.text(st.characters(exclude_characters="\0\t\n", exclude_categories=["Cs"]), max_size=20)
BYTES = st.binary(max_size=20).map(lambda data: data.translate(None, b"\0\t\n").decode(errors="surrogateescape"))
PIN = st.builds(Pin, *[FIELD | BYTES] * 5, (FIELD | BYTES).map(lambda path: f"/{path}"))
ONE = Pin("gvisor", "/run/runc", "c1", "/run/runc", "/b", "/usr/bin/runsc")
LINE = b"\n1\t=gvisor\t=/run/runc\t=c1\t=/run/runc\t=/b\t/usr/bin/runsc\t.\n"


def test_the_bytes_of_a_pin() -> None:
    assert render_pin(ONE) == LINE
    assert render_pin(Pin("a", "", "", "", "", "/")) == b"\n1\t=a\t=\t=\t=\t=\t/\t.\n"


@given(pins=st.lists(PIN, max_size=5))
def test_pins_are_read_as_they_were_rendered(pins: list[Pin]) -> None:
    last = {(pin.root, pin.id): pin for pin in pins}
    assert set(read_pins(b"".join(map(render_pin, pins)))) == set(last.values())


def test_the_last_pin_of_a_root_and_an_id_counts() -> None:
    first, again, other = ONE, Pin("b", "/run/runc", "c1", "", "", "/2"), Pin("c", "", "c1", "", "", "/3")
    assert read_pins(b"".join(map(render_pin, (first, other, again)))) == (other, again)
    assert read_pins(b"".join(map(render_pin, (first, again, first)))) == (first,)


@given(data=st.binary(max_size=60), cut=st.integers(0, len(LINE) - 1))
@example(data=b"", cut=len(LINE) - 1)
def test_a_line_that_was_cut_off_does_not_spoil_the_next(data: bytes, cut: int) -> None:
    assert read_pins(LINE[:cut]) == ()
    assert ONE in read_pins(LINE[:cut] + LINE)
    assert ONE in read_pins(data + LINE)
    assert len(read_pins(LINE[:cut] + LINE)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"2\t=l\t=r\t=i\t=s\t=b\t/t\t.",
        b"1\t=l\t=r\t=i\t=s\t=b\t/t\t",
        b"1\t=l\t=r\t=i\t=s\t=b\t/t\t.\t.",
        b"1\t=l\t=r\t=i\t=s\t/t\t.",
        b"1\t=l\t=r\t=i\ts\t=b\t/t\t.",
        b"1\t=l\t=r\t=i\t=s\t=b\tt\t.",
        b"1\t=l\t=r\t=i\t=s\t=b\t\t.",
        b"",
        b"\xff",
    ],
)
def test_a_line_of_another_form_is_ignored(line: bytes) -> None:
    assert read_pins(b"\n" + line + b"\n") == ()


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("byte", ["\t", "\n"])
def test_a_tab_or_a_line_feed_cannot_be_recorded(field: int, byte: str) -> None:
    values = ["/x"] * 6
    values[field] += byte
    with pytest.raises(ValueError, match="not recordable"):
        render_pin(Pin(*values))


def test_a_target_is_an_absolute_path() -> None:
    with pytest.raises(ValueError, match="not recordable"):
        render_pin(Pin("l", "", "i", "", "", "crun"))


@pytest.mark.parametrize("container", ["a", "c1", "0", "A_b.c+d-e", "-", "a" * 200, "_", "x."])
def test_a_safe_id_has_a_file(container: str) -> None:
    assert pin_file(container) == container


@pytest.mark.parametrize(
    "container", ["", ".", "..", ".a", "a/b", "a:b", "a b", "a\n", "é", "a" * 201, "\udcff", "²", "a\tb"]
)
def test_any_other_id_shares_a_file(container: str) -> None:
    assert pin_file(container) == OTHER_FILE


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize(
    "pin",
    [
        ONE,
        Pin("gvisor", "", "c1", "", "", "/usr/bin/runsc"),
        Pin("%2fx~y", "/r oot", "a" * 200, "/r oot", "/b\\n%s", "/t '\"$x"),
        Pin("x", "/é\udcff", "a:é\udcff", "/é\udcff", "/é\udcff", "/é"),
        Pin("x", "", ".a", "/from/arguments", "", "/t"),
    ],
)
def test_a_launcher_records_the_same_bytes(tmp_path: Path, shell: tuple[str, ...], pin: Pin) -> None:
    node = new_node(tmp_path, shell)
    args = [] if pin.root else ["--root", pin.state]
    script = make_launcher(pin.link, node.program("old"), args, pin.target, str(node.pins), "")
    (node.place / "launcher").write_bytes(script.text)
    root = ["--root", pin.root] if pin.root else []
    bundle = ["--bundle", pin.bundle] if pin.bundle else []
    assert node.executed(Launcher(node.place / "launcher", pin.target), *root, "create", *bundle, pin.id) == "old"
    assert (node.pins / pin_file(pin.id)).read_bytes() == render_pin(pin)
    assert node.pinned(pin.id) == (pin,)
