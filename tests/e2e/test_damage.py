"""A data root that somebody or something has damaged: put in order at the start, or refused with the way out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.harness.sites import LAST, NEW, OLD, Site, key, new_site
from harness.daemon import listing

# The first test prepares what all of them take copies of.
pytestmark = pytest.mark.timeout(600)

BROKEN = {"runtimes": {"same": {"path": 7}}}
CURRENT = f"generations/{LAST:08d}"
OLDER = f"generations/{LAST - 1:08d}"


@pytest.fixture(scope="module")
def prepared() -> Iterator[Site]:
    with new_site() as site:
        yield site.prepare()


@pytest.fixture
def site(prepared: Site) -> Site:
    prepared.restore("prepared")
    return prepared


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    """As an extent that was allocated and never written."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def make_unexecutable(path: Path) -> None:
    path.chmod(0o600)


def mislead(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [empty, zero, flip, remove]


def check_mended(site: Site, *lost: int, number: int = LAST) -> None:
    """Start with OLD twice, and see that it is generation ``number``, and all is there but the generations ``lost``."""
    for _ in range(2):
        with site.running(OLD) as daemon:
            assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
            assert daemon.status()["generation"] == number
            assert site.answers() == site.fresh[key(OLD)]
            retained = site.retained()
            assert {LAST - 1, LAST, number} - {*lost} <= {*retained}
            assert not {*lost} & {*retained}
            assert all(site.told(one) == site.past[one] for one in retained if one in site.past)
            assert site.published() == (number, site.links["old"])
    site.check_tidy(retained)


def check_refused(site: Site, *words: str) -> None:
    """Start with OLD in vain, and see that ``words`` are said and that nothing was touched."""
    before = listing(site.data)
    site.daemon.write(OLD)
    text = site.daemon.fail_to_start()
    assert all(word in text for word in (str(site.data), *words)), text
    after = listing(site.data)
    # Who holds the lock stands in it.
    assert {path for path in before if before[path] != after[path]} <= {"lock"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_a_current_generation_that_is_damaged_is_published_anew(
    site: Site, file: str, damage: Callable[[Path], None]
) -> None:
    damage(site.data / CURRENT / file)
    check_mended(site, LAST, number=LAST + 1)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_of_an_older_generation_that_is_damaged_only_that_is_lost(
    site: Site, file: str, damage: Callable[[Path], None]
) -> None:
    damage(site.data / OLDER / file)
    check_mended(site, LAST - 1)


@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_a_damaged_generation_and_a_broken_configuration_leave_the_previous_one(site: Site, file: str) -> None:
    flip(site.data / CURRENT / file)
    with site.running(BROKEN) as daemon:
        assert daemon.status()["health"]["status"] == "degraded"
        assert daemon.status()["generation"] == LAST + 1
        answers = {name: daemon.resolve(name)["digest"] for name in ("same", "changed", "plain")}
        before = {name: answer["digest"] for name, answer in site.past[LAST - 1]["runtimes"].items()}
        assert answers == {name: before[name] for name in answers}
        assert daemon.get("/v1/resolve?runtime=dropped")[0] == 400
        assert site.published()[1].keys() >= {"earlier", "same", "changed"}
        site.apply(OLD, LAST + 2)
        assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
        assert site.answers() == site.fresh[key(OLD)]


@pytest.mark.parametrize("damage", [*DAMAGES, make_unexecutable])
def test_damaged_wrappers_are_written_again(site: Site, damage: Callable[[Path], None]) -> None:
    for path in (site.data / "wrappers").iterdir():
        if path.stat().st_size:  # not the one that an interrupted publish left
            damage(path)
    check_mended(site)


@pytest.mark.parametrize("damage", [remove, mislead])
@pytest.mark.parametrize("link", ["runtimes", f"{CURRENT}/runtimes/same"])
def test_a_lost_link_is_made_anew_by_a_publish(site: Site, link: str, damage: Callable[[Path], None]) -> None:
    damage(site.data / link)
    check_mended(site, number=LAST + 1)


@pytest.mark.parametrize(
    ("directory", "lost", "number"),
    [
        ("wrappers", (), LAST),
        (OLDER, (LAST - 1,), LAST),
        (CURRENT, (LAST,), LAST + 1),
        ("links", (), LAST + 1),
    ],
)
def test_a_lost_directory_costs_no_more_than_what_was_told_by_it_alone(
    site: Site, directory: str, lost: tuple[int, ...], number: int
) -> None:
    shutil.rmtree(site.data / directory)
    check_mended(site, *lost, number=number)


@pytest.mark.parametrize("directory", ["generations", "parts"])
def test_without_any_generation_left_numbers_still_do_not_go_back(site: Site, directory: str) -> None:
    shutil.rmtree(site.data / directory)
    with site.running(OLD) as daemon:
        assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
        assert daemon.status()["generation"] == LAST + 1
        assert site.answers() == site.fresh[key(OLD)]
        assert site.published()[1].keys() == {"same", "changed", "dropped", "plain"}


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("", ["VERSION file is damaged", "write the line layout=1 to"]),
        ("\0" * 40, ["VERSION file is damaged", "write the line layout=1 to"]),
        ("mayout=1\nid=0\n", ["VERSION file is damaged", "write the line layout=1 to"]),
        ("layout=2\nid=0\n", ["layout is 2", "run the newer runtimed"]),
        (None, ["no VERSION file", "write the line layout=1 to"]),
    ],
    ids=["empty", "zero", "flipped", "newer", "gone"],
)
def test_a_damaged_or_newer_version_is_refused_with_the_way_out(
    site: Site, version: str | None, words: list[str]
) -> None:
    file = site.data / "VERSION"
    text = file.read_text()
    file.unlink()
    if version is not None:
        file.write_text(version)
    check_refused(site, *words)
    file.write_text(text.splitlines()[0])
    check_mended(site)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_not_ours_stays_and_does_no_harm(site: Site, kind: str) -> None:
    names = ["notes", ".hidden", "0099", "x-" + 32 * "a", os.fsdecode(b"\xff-" + 32 * b"a")]
    foreign = [site.data / directory / name for directory in (".", "generations", "wrappers") for name in names]
    precious = [path / "precious" if kind == "directory" else path for path in foreign]
    for path in precious:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with site.running(OLD) as daemon:
        assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
        assert site.retained() == list(site.past)
        assert site.published() == (LAST, site.links["old"])
        assert daemon.ask("POST", "/v1/gc?dry_run=true")[0] == 200
        site.apply(NEW, LAST + 1)
        assert site.published() == (LAST + 1, site.links["new"])
        assert daemon.status()["health"] == {"status": "ok", "reasons": {}}
    assert [path.read_text() for path in precious] == ["mine"] * len(precious)
