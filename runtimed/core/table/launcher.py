"""Makes launchers, the scripts at stable paths, which keep each container with the runtime that it was created with.

An engine calls the stable path like an OCI runtime. The launcher reads this command line with shell builtins only.
``create``, ``run`` and ``restore`` record a *pin* (``core.pins``), the other verbs of a container with a pin execute
the target of the pin, and every other call executes the current definition.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from runtimed.core.table.script import name_script

# Options of runc, crun, runsc, youki and kata-runtime.
# The word after an option that is in no list may be its value. The launcher takes it for one, unless the word is a verb
# or the id of a pinned container. So an option with a value is in a list if its value can be such a word. An option
# without one is in a list if it can precede the id of a container with other words after the id.
_GLOBAL_VALUES = (
    *("root", "r", "log", "l", "log-format", "log-level", "criu", "cgroup-manager", "kata-config", "config"),
    *("debug-log", "debug-command", "platform", "network", "overlay2", "trace"),
)
_GLOBAL_FLAGS = ("debug", "overlay", "systemd-cgroup")
_CREATE_VALUES = (
    *("bundle", "b", "pid-file", "p", "console-socket", "console", "c", "pidfd-socket", "preserve-fds", "config", "f"),
    *("image-path", "work-path", "manage-cgroups-mode", "empty-ns", "lsm-profile", "lsm-mount-context", "network-lock"),
    *("user-log", "fs-restore-image-path", "pass-fd", "exec-fd"),
)
_EXEC_VALUES = (
    *("process", "p", "pid-file", "console-socket", "console", "pidfd-socket", "cwd", "env", "e", "user", "u"),
    *("additional-gids", "g", "process-label", "apparmor", "cap", "c", "preserve-fds", "cgroup", "internal-pid-file"),
    *("pass-fd", "exec-fd"),
)
_EXEC_FLAGS = ("detach", "d", "tty", "t", "no-new-privs", "ignore-paused", "no-subreaper")
# Of kill, ps, events and wait.
_OTHER_VALUES = ("format", "f", "interval", "pid", "pgid", "rootpid")
_OTHER_FLAGS = ("all", "a", "regex", "r")
_CHECKPOINT_VALUES = (
    *("image-path", "work-path", "parent-path", "path", "manage-cgroups-mode", "status-fd", "page-server", "empty-ns"),
    *("network-lock", "cuda-checkpoint-path", "save-restore-exec-argv", "save-restore-exec-timeout"),
)
# Of tar and trace.
_NESTED_VALUES = ("file", "config", "name")


def root_of(args: Sequence[str]) -> str:
    """Return the value of ``--root`` among a runtime's arguments ``args``, "" if there is none."""
    root, name = "", ""
    for word in args:
        if name:
            root, name = (word if name in ("root", "r") else root), ""
        elif word.startswith(("--root=", "-root=", "-r=")):
            root = word.partition("=")[2]
        elif word.startswith("-r/"):
            root = word[2:]
        elif word.startswith("-") and (option := word[1:].removeprefix("-")) in _GLOBAL_VALUES:
            name = option
    return root


@dataclass(frozen=True, slots=True)
class Launcher:
    """The launcher that executes ``program`` with ``args``; `make_launcher` describes the fields."""

    link: str
    file: str
    program: str
    args: tuple[str, ...]
    target: str
    pins: str
    search: str

    @property
    def text(self) -> bytes:
        """The content of the file."""
        return _render(self.link, self.program, self.args, self.target, self.pins, self.search)


def make_launcher(link: str, program: str, args: Sequence[str], target: str, pins: str, search: str) -> Launcher:
    """Return the launcher of the stable path ``link``, which executes ``program`` with ``args``.

    ``target`` is the path that the pins of its containers name: a wrapper with the same program and arguments, or the
    program itself. ``pins`` is the directory of the pins. A program without a slash is searched for at each call in
    the directories of ``search``, separated by colons.
    """
    text = _render(link, program, args, target, pins, search)
    return Launcher(link, name_script(link, text), program, tuple(args), target, pins, search)


def _render(link: str, program: str, args: Sequence[str], target: str, pins: str, search: str) -> bytes:
    head = [
        f"_rd_link={shlex.quote(link)}",
        f"_rd_pins={shlex.quote(pins)}",
        f"_rd_target={shlex.quote(target)}",
        f"_rd_default_root={shlex.quote(root_of(args))}",
    ]
    # exec would take a leading "-" for an option. (The configuration refuses one in a bare name.)
    word = shlex.quote(f"./{program}" if program.startswith("-") else program)
    if "/" not in program:
        paths = [shlex.quote(f"{place}/{program}") for place in search.split(":") if place.startswith("/")]
        head.append(f"for _rd_program in {' '.join((*paths, word))}; do")
        head.append('  [ -f "$_rd_program" ] && [ -x "$_rd_program" ] && break')
        head.append("done")
        word = '"$_rd_program"'
        if "/" not in target:
            head.append("_rd_target=$_rd_program")
    head.append(f'_rd_current() {{ exec {" ".join((word, *map(shlex.quote, args)))} "$@"; }}\n')
    return "\n".join((_INTRODUCTION, *head)).encode(errors="surrogateescape") + _BODY


def _words(names: Sequence[str]) -> str:
    """Return ``names`` as a quoted string with a blank before and after each."""
    return f"' {' '.join(names)} '"


_INTRODUCTION = """\
#!/bin/sh
# Written by runtimed. Never changed: a new text gets a new name.
# Executes a runtime. "create", "run" and "restore" record which one in a file of _rd_pins (a pin), and later calls for
# that container execute the same one. runtimed(8) describes it under "stable path"."""

_BODY = f"""\
_rd_tab='\t'
_rd_readable() {{ [ -f "$_rd_file" ] && [ -r "$_rd_file" ]; }}
# Finds the last pin of the container $1. Returns 1 if there is none. Sets _rd_bad if its file cannot be read.
_rd_look() {{
  _rd_file=$_rd_pins/$1 _rd_pin= _rd_line= _rd_bad= _rd_same= _rd_read= _rd_dots=
  case $1 in
  '' | .* | *[!0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.+-]*) _rd_file=$_rd_pins/.other ;;
  *) [ ${{#1}} -le 200 ] || _rd_file=$_rd_pins/.other ;;
  esac
  if ! _rd_readable; then
    # The daemon may give the file its name back, or make the directory, between two looks.
    if [ -e "$_rd_file" ]; then
      _rd_readable || _rd_bad=$_rd_file
    # A directory that is missing has no pins. One that was replaced may have had some.
    elif [ ! -d "$_rd_pins" ] && {{ [ -e "$_rd_pins" ] || [ -h "$_rd_pins" ]; }} && [ ! -d "$_rd_pins" ]; then
      _rd_bad=$_rd_pins
    fi
    [ "$_rd_bad" ] && return
    _rd_readable || return
  fi
  _rd_read=1
  # "=" leads each field, because the shell skips empty ones. "." ends a line that was written whole.
  while IFS=$_rd_tab read -r _rd_v _rd_l _rd_r _rd_i _rd_s _rd_b _rd_t _rd_e; do
    [ "$_rd_v" = . ] && _rd_dots=.$_rd_dots
    [ "$_rd_i" = "=$1" ] && [ "$_rd_v$_rd_e" = 1. ] || continue
    _rd_r=${{_rd_r#=}} _rd_s=${{_rd_s#=}}
    if [ "$_rd_r" = "$_rd_root" ] || [ "$_rd_r" -ef "$_rd_root" ]; then
      _rd_same=1
    elif [ "$_rd_same" ]; then
      continue
    elif [ "$_rd_root" ]; then
      # Created without --root, with its state in this root or at a place that is not known.
      [ "$_rd_r" ] && continue
      [ -z "$_rd_s" ] || [ "$_rd_s" = "$_rd_root" ] || [ "$_rd_s" -ef "$_rd_root" ] || continue
    fi
    _rd_pin=$_rd_t _rd_state=$_rd_s _rd_line=$_rd_l$_rd_tab$_rd_r$_rd_tab$_rd_s$_rd_tab$_rd_b$_rd_tab$_rd_t
  done 2>/dev/null <"$_rd_file"
  [ "$_rd_pin" ]
}}

# Reads the command line. _rd_at is the place in it: global options, create, a verb, a verb before another one, or an
# unknown verb. _rd_kind tells whether the previous argument was an option with a value or an unknown option.
_rd_at=global _rd_kind= _rd_end= _rd_root= _rd_id= _rd_bundle= _rd_pin= _rd_bad=
_rd_values={_words(_GLOBAL_VALUES)}
_rd_flags={_words(_GLOBAL_FLAGS)}
for _rd_w do
  if [ "$_rd_kind" = value ]; then
    case $_rd_at-$_rd_name in
    global-root | global-r) _rd_root=$_rd_w ;;
    create-b*) _rd_bundle=$_rd_w ;;
    esac
    _rd_kind=
    continue
  fi
  case $_rd_end$_rd_w in
  --) [ $_rd_at = global ] || _rd_end=1; _rd_kind=; continue ;;
  -?*)
    _rd_name=${{_rd_w#-}} _rd_to=' ' _rd_kind=
    case $_rd_at$_rd_w in
    global--root=* | global-root=* | global-r=*) _rd_root=${{_rd_w#*=}}; continue ;;
    global-r/*) _rd_root=${{_rd_w#-r}}; continue ;;
    create-b/*) _rd_bundle=${{_rd_w#-b}}; continue ;;
    create--b*=/* | create-b*=/*) _rd_bundle=${{_rd_w#*=}}; continue ;;
    *=*) continue ;;
    *--*) _rd_name=${{_rd_name#-}} _rd_to= ;; # crun takes abbreviations of long options.
    esac
    case $_rd_flags in *" $_rd_name "*) continue ;; esac
    case $_rd_values in all | *" $_rd_name$_rd_to"*) _rd_kind=value ;; *) _rd_kind=unknown ;; esac
    continue ;;
  esac
  case $_rd_at in
  global)
    _rd_at=verb
    case $_rd_w in
    create | run | restore) _rd_at=create _rd_flags= _rd_values={_words(_CREATE_VALUES)} ;;
    exec) _rd_flags={_words(_EXEC_FLAGS)} _rd_values={_words(_EXEC_VALUES)} ;;
    kill | ps | events | wait) _rd_flags={_words(_OTHER_FLAGS)} _rd_values={_words(_OTHER_VALUES)} ;;
    update) _rd_flags= _rd_values=all ;;
    checkpoint | fscheckpoint) _rd_flags= _rd_values={_words(_CHECKPOINT_VALUES)} ;;
    state | start | delete | pause | resume | usage | debug | port-forward | read-control | write-control)
      _rd_flags= _rd_values= ;;
    mounts | tar | trace) _rd_at=nested _rd_flags= _rd_values={_words(_NESTED_VALUES)} ;;
    features | spec | list | help | h | version | info | flags | do | boot | gofer | install | uninstall) break ;;
    *) if [ "$_rd_kind" ]; then _rd_at=global; else _rd_at=unknown _rd_flags= _rd_values=; fi ;;
    esac ;;
  create) _rd_id=$_rd_w ;; # The last one counts.
  nested) _rd_at=verb ;;
  verb) _rd_look "$_rd_w" || [ -z "$_rd_kind" ] && break ;;
  unknown) _rd_look "$_rd_w" && break ;;
  esac
  _rd_kind=
done

if [ -z "$_rd_id" ]; then
  if [ "$_rd_bad" ]; then
    printf 'runtimed: cannot read %s, which records the runtime of this container\\n' "$_rd_bad" >&2
    exit 125
  fi
  [ "$_rd_pin" ] && [ "$_rd_pin" != "$_rd_target" ] && exec "$_rd_pin" "$@"
  _rd_current "$@"
fi

# Tells whether the container $1 may exist below one of the directories $2, $3, ... (runsc has files for it).
_rd_exists() {{
  _rd_i=$1
  shift
  for _rd_d do
    for _rd_e in "$_rd_d/$_rd_i" "$_rd_d/$_rd_i"_sandbox:*; do [ -e "$_rd_e" ] && return; done
  done
  return 1
}}
# Tells whether the pinned container may exist. Where its root is not known, the usual ones are looked at.
_rd_may_exist() {{
  if [ "$_rd_state" ]; then
    _rd_exists "$_rd_id" "$_rd_state"
  else
    _rd_d=${{XDG_RUNTIME_DIR:-/run}}
    _rd_exists "$_rd_id" /run/runc /run/crun /run/runsc /run/youki \
      "$_rd_d/runc" "$_rd_d/crun" "$_rd_d/runsc" "$_rd_d/youki"
  fi
}}
_rd_append() {{
  printf '\\n1\\t=%s\\t=%s\\t=%s\\t=%s\\t=%s\\t%s\\t.\\n' "$_rd_link" "$_rd_root" "$_rd_id" "$_rd_place" \
    "$_rd_bundle" "$_rd_own" 2>/dev/null >>"$_rd_file"
}}
_rd_look "$_rd_id"
_rd_own=$_rd_target _rd_kept=
# A container that may exist keeps its pin, also if this call fails. A pin of an unknown root or for a call without one
# may be that of another container, and go with it: its target is recorded for this container too.
[ "$_rd_pin" ] && _rd_may_exist && _rd_own=$_rd_pin _rd_kept=$_rd_same
# A new container starts even if it cannot be pinned.
if [ -z "$_rd_bad$_rd_kept" ]; then
  _rd_place=${{_rd_root:-$_rd_default_root}}
  case $_rd_place in [!/]*) _rd_place=$PWD/$_rd_place ;; esac
  case $_rd_bundle in [!/]*) _rd_bundle= ;; esac
  _rd_new==$_rd_link$_rd_tab$_rd_root$_rd_tab$_rd_place$_rd_tab=$_rd_bundle$_rd_tab$_rd_own
  case $_rd_own$_rd_root$_rd_id$_rd_place$_rd_bundle in
  [!/]* | *["$_rd_tab
"]*) ;;
  *)
    if [ "$_rd_line" = "$_rd_new" ]; then
      # A file that changes after the daemon has looked for its containers stays. Many lines would take time to read.
      _rd_v=.
      [ ${{#_rd_dots}} -ge 9 ] || printf '.\\n' 2>/dev/null >>"$_rd_file"
      # A file of pins begins with an empty line. If this one does not, the daemon has removed it meanwhile.
      IFS= read -r _rd_v 2>/dev/null <"$_rd_file"
      [ "$_rd_v" ] && _rd_append
    else
      _rd_append
      if [ "$_rd_read" ] || ! [ -s "$_rd_file" ]; then
        # The daemon may have removed the file while it was open here, and another launcher may have made it again.
        _rd_look "$_rd_id"
        # Execute the runtime that later calls will find. An older pin stays if this one cannot be recorded.
        [ "$_rd_line" = "$_rd_new" ] || {{ _rd_append; _rd_look "$_rd_id"; }}
      fi
    fi ;;
  esac
fi
[ "$_rd_pin" ] && [ "$_rd_pin" != "$_rd_target" ] && exec "$_rd_pin" "$@"
_rd_current "$@"
""".encode()
