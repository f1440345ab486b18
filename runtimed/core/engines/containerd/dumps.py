"""Compares two dumps of containerd's whole configuration, without runtimed's file and with it.

Before 2.0 containerd replaces the whole section of a plugin by that of an imported file; since then it merges tables,
in the order of the files. Either may change settings of other files, or of runtimed's file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runtimed.core.configuration.inputs import Source
from runtimed.core.engines.containerd.layout import PLUGINS, section_of, table_at
from runtimed.core.engines.containerd.view import describe, effective
from runtimed.core.engines.syntax import dotted, parse_toml, shown_toml
from runtimed.core.errors import ConfigurationRejected, Problem
from runtimed.core.message_text import called

# Files by their paths, in the order in which containerd reads them.
Files = Mapping[str, Mapping[str, object]]
# The keys to a value.
_Keys = tuple[str, ...]
# The largest number of settings that a refusal names.
_NAMED = 5
_DEFAULT = "default_runtime_name"


def judge_dumps(document: Mapping[str, object], others: Files, answers: Sequence[bytes]) -> list[Problem]:
    """Return the problems of ``answers``, the dumps without and with the file whose content is ``document``.

    ``others`` are the other files, as TOML values.
    """
    try:
        before, after = (parse_toml(Source("the output of `containerd config dump`", answer)) for answer in answers)
    except ConfigurationRejected as rejection:
        return list(rejection.problems)
    comparison = _Comparison(document, others, before, after)
    # Where runtimed's file replaces a section, a later file may replace it in turn: one explanation is enough.
    return [*comparison.lost_runtimes(), *comparison.lost_settings()] or [*comparison.changed_runtimes()]


@dataclass(frozen=True, slots=True)
class _Comparison:
    document: Mapping[str, object]
    others: Files
    before: Mapping[str, object]
    after: Mapping[str, object]

    def lost_runtimes(self) -> Iterator[Problem]:
        """Yield the runtimes of other files that containerd would lose, or would execute otherwise."""
        there = _runtimes(self.after)
        for name, entry in _runtimes(self.before).items():
            expected, found = describe(table_at(entry)), describe(table_at(there, name))
            if name in _runtimes(self.document) or found == expected:
                continue
            where = (*self._section(), "runtimes", name)
            file = self._file_with(where)
            text = (
                f"containerd would lose this runtime, because before 2.0 an import replaces everything that other "
                f"files have below {dotted(*where[:2])}; let runtimed have it first: `runtimectl import containerd "
                f"{file or 'FILE'}` prints a drop-in for it"
            )
            yield Problem(text, file, pointer=dotted(*where), found=found, expected=expected)

    def lost_settings(self) -> list[Problem]:
        """Return the settings of other files, other than runtimes, that would change."""
        section = self._section()
        own = (("imports",), ("version",), (*section, "runtimes"), (*section, _DEFAULT))
        after = dict(_leaves(self.after))
        lost = [
            (keys, value)
            for keys, value in _leaves(self.before)
            if not any(keys[: len(prefix)] == prefix for prefix in own) and after.get(keys) != value
        ]
        problems = []
        for keys, value in lost[:_NAMED]:
            found = shown_toml(after[keys]) if keys in after else "missing"
            text = f"would be {found} instead of {shown_toml(value)}"
            problems.append(Problem(text, self._file_with(keys), pointer=dotted(*keys), found=found))
        if lost:
            text = (
                f"settings of other files would change ({len(lost)} in all), because before containerd 2.0 an import "
                "replaces the whole section of the same plugin in other files; put the tables of `runtimectl "
                "export containerd` into the file that has the section instead"
            )
            problems.append(Problem(text, pointer=dotted(*section[:2])))
        return problems

    def changed_runtimes(self) -> Iterator[Problem]:
        """Yield the runtimes of runtimed's file that containerd would execute otherwise because of other files."""
        there = _runtimes(self.after)
        for name, value in _runtimes(self.document).items():
            where, entry = (*self._section(), "runtimes", name), table_at(value)
            if name not in there:
                text = (
                    f"containerd would not have {called(name)}: a file that it reads later replaces runtimed's, or it "
                    "cannot read such a name"
                )
                yield Problem(text, self._file_with(where[:3]), pointer=dotted(*where))
                continue
            entry_there = table_at(there, name)
            # Without the keys that this containerd does not know, and therefore does not print.
            known = {key: item for key, item in effective(entry).items() if key in (*entry_there, "options")}
            expected, found = describe(known), describe(entry_there)
            if found != expected:
                text = (
                    f"containerd would execute {found} instead of {expected}, because it merges the entries that files "
                    "have under one name; remove the other entry"
                )
                yield Problem(text, self._file_with(where), pointer=dotted(*where), found=found, expected=expected)
        ours, default = section_of(self.document).get(_DEFAULT), section_of(self.after).get(_DEFAULT)
        if ours is not None and default != ours:
            where = (*self._section(), _DEFAULT)
            found = shown_toml(default)
            text = f"a file that containerd reads later sets {found} instead of {shown_toml(ours)}; remove it there"
            yield Problem(text, self._file_with(where), pointer=dotted(*where), found=found)

    def _section(self) -> _Keys:
        """Return the keys to the table with the runtimes in the dumps, which have the engine's newest version."""
        version = self.after.get("version")
        plugin = PLUGINS.get(version) if isinstance(version, int) else None
        return ("plugins", plugin or PLUGINS[max(PLUGINS)], "containerd")

    def _file_with(self, keys: _Keys) -> str | None:
        """Return the last of the other files that has ``keys``, in the section of any version of the plugin."""
        places = {keys}
        if keys[1:2] and keys[1] in PLUGINS.values():
            places = {(keys[0], plugin, *keys[2:]) for plugin in PLUGINS.values()}
        found = None
        for file, document in self.others.items():
            if any(place[-1] in table_at(document, *place[:-1]) for place in places):
                found = file
        return found


def _runtimes(document: Mapping[str, object]) -> Mapping[str, object]:
    return table_at(section_of(document), "runtimes")


def _leaves(value: object, keys: _Keys = ()) -> Iterator[tuple[_Keys, object]]:
    """Yield all values in ``value`` that are no tables, with their keys."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*keys, key))
    else:
        yield keys, value
