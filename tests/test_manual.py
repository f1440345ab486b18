"""The manual pages and the program name the same verbs, options, keys, routes, codes, events and metrics."""

from __future__ import annotations

import argparse
import re
import typing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import runtimed
from runtimed.api.counters import Counters
from runtimed.api.docker import PATHS
from runtimed.api.metrics import Figures, render_metrics
from runtimed.api.openapi import describe_api as describe
from runtimed.cli.parser import Parser, make_parser
from runtimed.core import shapes
from runtimed.core.config import BOOT_ONLY, SETTINGS, Config, Settings
from runtimed.core.containers import ContainersSummary
from runtimed.core.problem_codes import PROBLEM_CODES
from runtimed.daemon.arguments import make_parser as make_daemon_parser

MANUAL = Path(runtimed.__file__).parents[1] / "etc" / "man"
MONITORING = MANUAL.parent / "monitoring"
PAGES = ("runtimed.8", "runtimectl.1", "runtimed.json.5", "runtimed-api.7")
TEXT = {name: (MANUAL / f"{name}.scd").read_text() for name in PAGES}
FIGURES = Figures(1, {"available": 1}, True, {}, "inotify", True, {}, 0, 0, 0, 1, ContainersSummary(), {}, False, False)


def section(page: str, name: str) -> str:
    """Return the text of one section of a page."""
    found = re.search(rf"^# {name}\n(.*?)(?=^# |\Z)", TEXT[page], re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {name}"
    return found[1]


def entries(text: str) -> list[str]:
    """Return the lines that begin entries: those above an indented line."""
    return re.findall(r"^(\*.*)\n(?=\t)", text, re.MULTILINE)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def verbs() -> dict[str, argparse.ArgumentParser]:
    actions = make_parser([])._actions
    return next(dict(action.choices) for action in actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("page", PAGES)
def test_each_page_names_its_section_and_ends_with_its_companions(page: str) -> None:
    name, _, number = page.rpartition(".")
    assert TEXT[page].startswith(f'{name}({number}) "runtimed"\n\n# NAME\n\n{name} - ')
    others = {f"*{other.rpartition('.')[0]}*({other[-1]})" for other in PAGES if other != page}
    assert all(other in section(page, "SEE ALSO") for other in others)


@pytest.mark.parametrize("page", PAGES)
def test_a_line_has_at_most_120_characters_outside_of_examples(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", TEXT[page], flags=re.MULTILINE | re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 125] == []


def test_the_daemons_page_has_each_of_its_options_and_no_other() -> None:
    told = set(re.findall(r"\*(-{1,2}[a-zA-Z][a-z-]*)\*", section("runtimed.8", "OPTIONS")))
    assert told == options_of(make_daemon_parser(Config("/c", Settings("/d", "/e", ("unix:///s",)), {})))


def test_the_page_of_the_file_has_each_setting_and_no_other() -> None:
    told = {line.strip("*") for line in entries(section("runtimed.json.5", "KEYS"))} - {"runtimes", "runtimed"}
    for entry in re.findall(r"^\*(.+)\*\n((?:.+\n)+)", section("runtimed.json.5", "KEYS OF runtimed"), re.MULTILINE):
        told |= {f"runtimed.{entry[0]}.{key}" for key in re.findall(r"^\t?\*(.+)\*:", entry[1], re.MULTILINE)} or {
            f"runtimed.{entry[0]}"
        }
    assert told == {".".join(setting.keys) for setting in SETTINGS.values()}


def test_the_page_of_the_file_marks_the_settings_that_need_a_restart() -> None:
    marked = re.findall(r"^\*(.+)\*\n\t(?:.+\n)*?.*Boot-only\.", section("runtimed.json.5", "KEYS"), re.MULTILINE)
    assert set(marked) == set(BOOT_ONLY)


def test_runtimectls_page_has_each_verb_in_the_order_of_the_help() -> None:
    told = [re.match(r"\*(\w+)\*", line)[1] for line in entries(section("runtimectl.1", "VERBS"))]  # type: ignore[index]
    assert told == list(verbs())


@pytest.mark.parametrize("verb", verbs())
def test_the_entry_of_a_verb_has_each_of_its_options_and_no_other(verb: str) -> None:
    line = next(line for line in entries(section("runtimectl.1", "VERBS")) if line.startswith(f"*{verb}*"))
    common = options_of(Parser(prog="x")) | {"--socket", "--json"}
    assert set(re.findall(r"--[a-z-]+", line)) == options_of(verbs()[verb]) - common


def test_runtimectls_page_has_each_common_option() -> None:
    told = set(re.findall(r"\*(-{1,2}[a-z]+)\*", section("runtimectl.1", "OPTIONS")))
    assert told == options_of(make_parser([]))


def test_the_page_of_the_interface_has_each_route_and_no_other() -> None:
    told = re.findall(r"\*((?:GET|POST) /[^*]*)\*", section("runtimed-api.7", "ROUTES"))
    paths = describe()["paths"]
    served = {
        f"{method.upper()} {path}" for path, item in paths.items() for method in item if method in ("get", "post")
    }
    assert {one.replace("\\", "") for one in told} == served | {f"GET {path}" for path in PATHS}


def test_the_page_of_the_interface_has_each_query_key() -> None:
    text = section("runtimed-api.7", "ROUTES")
    for path, item in describe()["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query":
                    assert re.search(rf"{re.escape(path)}\*.*\b{parameter['name']}=", text), (path, parameter["name"])


def test_the_page_of_the_interface_has_each_problem_code_with_its_statuses() -> None:
    rows = re.findall(r"^\|  ([a-z-]+)\n:  ([0-9, ]+)\n", section("runtimed-api.7", "PROBLEM CODES"), re.MULTILINE)
    told = {code: {int(status) for status in statuses.split(", ")} for code, statuses in rows}
    assert told == {code: {row.status, *row.statuses.values()} for code, row in PROBLEM_CODES.items()}


def test_the_page_of_the_interface_has_each_event_and_no_other() -> None:
    told = {re.match(r"\*(\w+)\*", line)[1] for line in entries(section("runtimed-api.7", "EVENTS"))}  # type: ignore[index]
    kinds = {typing.get_type_hints(kind)["type"] for kind in typing.get_args(shapes.Event)}
    assert told == {typing.get_args(kind)[0] for kind in kinds}


def metrics() -> set[str]:
    families = list(text_string_to_metric_families(render_metrics(FIGURES, Counters()).decode()))
    counters = {f"{each.name}_total" for each in families if each.type == "counter"}
    others = {each.name for each in families if each.type != "counter"}
    return {name for name in counters | others if name.startswith("runtimed_")}


def test_the_page_of_the_interface_has_each_metric_and_no_other() -> None:
    told = set(re.findall(r"\*(runtimed_\w+)\*", section("runtimed-api.7", "METRICS")))
    assert told == metrics()


@pytest.mark.parametrize("file", ["rules.yml", "rules-test.yml", "dashboard.json"])
def test_alerts_and_dashboard_name_metrics_that_there_are(file: str) -> None:
    named = set(re.findall(r"\bruntimed_\w+", (MONITORING / file).read_text()))
    # The file for node-exporter has one more, and histograms have buckets.
    assert {name.removesuffix("_bucket") for name in named} <= metrics() | {"runtimed_up"}


def test_the_daemons_page_has_each_alert_and_no_other() -> None:
    told = re.findall(r"\*(Runtimed\w+)\*", section("runtimed.8", "MONITORING"))
    assert sorted(told) == sorted(re.findall(r"alert: (\w+)", (MONITORING / "rules.yml").read_text()))
