"""Makes launchers, the scripts at stable paths, which keep each container with the runtime that it was created with.

An engine calls the stable path like an OCI runtime. The launcher reads this command line with shell builtins only.
``create``, ``run`` and ``restore`` record a *pin* (``core.pins``), the other verbs of a container with a pin execute the
pin's target, and every other call executes the current definition.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from runtimed.core.table.script import Script, make_script

# Options whose value is the next argument, and options without a value, of runc, crun, runsc, youki and kata-runtime. A
# word after any other option may be a value: one that is neither a verb nor the id of a pinned container is skipped.
# "rootless" is missing because it takes a value in runc and none in runsc.
GLOBAL_VALUES = (
    *("root", "r", "log", "l", "log-format", "log-level", "criu", "cgroup-manager", "kata-config", "config"),
    # runsc
    *("character-device-policy", "control-rpc-stop-timeout", "coverage-fd", "coverage-report", "dcache"),
    *("debug-command", "debug-log", "debug-log-fd", "debug-log-format", "fdlimit", "file-access", "file-access-mounts"),
    *("final-metrics-log", "gofer-network-namespace", "host-fifo", "host-settings", "host-uds", "log-fd"),
    *("metric-server", "network", "network-processors-per-channel", "num-network-channels"),
    *("nvproxy-allowed-driver-capabilities", "nvproxy-driver-version", "override-procs", "overlay2", "panic-log"),
    *("panic-log-fd", "panic-signal", "pcap-log", "platform", "platform_device_path", "pod-init-config"),
    *("profile-block", "profile-cpu", "profile-gc-interval", "profile-heap", "profile-mutex", "profiling-metrics"),
    *("profiling-metrics-log", "profiling-metrics-rate-us", "qdisc", "qdisc-tbf-burst", "qdisc-tbf-rate"),
    *("ref-leak-mode", "restore-spec-validation", "shared-root", "strace-log-size", "strace-syscalls", "trace"),
    *("traceback", "watchdog-action"),
)
# Those that a value option begins with, which would be taken for its abbreviation, and the frequent ones.
GLOBAL_FLAGS = ("debug", "systemd-cgroup", "overlay", "profile", "strace")
_CREATE_VALUES = (
    *("bundle", "b", "config", "f", "console", "console-socket", "c", "pidfd-socket", "pid-file", "p", "preserve-fds"),
    *("user-log", "fs-restore-image-path", "pass-fd", "exec-fd", "image-path", "work-path", "manage-cgroups-mode"),
    *("empty-ns", "lsm-profile", "lsm-mount-context", "network-lock"),
)
_EXEC_VALUES = (
    *("process", "p", "pid-file", "console-socket", "console", "pidfd-socket", "cwd", "env", "e", "user", "u"),
    *("additional-gids", "g", "process-label", "apparmor", "cap", "c", "preserve-fds", "cgroup", "internal-pid-file"),
    *("pass-fd", "exec-fd"),
)
_UPDATE_VALUES = (
    *("resources", "r", "blkio-weight", "cpu-burst", "cpu-idle", "cpu-period", "cpu-quota", "cpu-rt-period"),
    *("cpu-rt-runtime", "cpu-share", "cpuset-cpus", "cpuset-mems", "kernel-memory", "kernel-memory-tcp", "memory"),
    *("memory-reservation", "memory-swap", "pids-limit", "l3-cache-schema", "mem-bw-schema"),
)
_CHECKPOINT_VALUES = (
    *("image-path", "work-path", "parent-path", "path", "status-fd", "page-server", "manage-cgroups-mode", "empty-ns"),
    *("network-lock", "cuda-checkpoint-path", "save-restore-exec-argv", "save-restore-exec-timeout"),
)
_CHECKPOINT_FLAGS = (
    *("leave-running", "tcp-established", "tcp-skip-in-flight", "tcp-close", "link-remap", "ext-unix-sk", "shell-job"),
    *("lazy-pages", "file-locks", "pre-dump", "auto-dedup", "exclude-committed-zero-pages", "direct"),
)
_DEBUG_VALUES = (
    *("pid", "profile-block", "profile-cpu", "profile-heap", "profile-mutex", "delay", "duration", "trace", "signal"),
    *("strace", "log-level", "log-packets", "mount"),
)
# Verbs of a case pattern -> the options with a value and those without.
VERBS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = MappingProxyType(
    {
        "start | state | pause | resume | read-control | write-control": ((), ()),
        "kill": (("pid", "pgid"), ("all", "a", "regex", "r")),
        "delete": ((), ("force", "f", "regex", "r")),
        "exec": (_EXEC_VALUES, ("tty", "t", "detach", "d", "no-new-privs", "ignore-paused", "no-subreaper")),
        "ps": (("format", "f"), ()),
        "events": (("interval",), ("stats",)),
        "update": (_UPDATE_VALUES, ()),
        "checkpoint | fscheckpoint": (_CHECKPOINT_VALUES, _CHECKPOINT_FLAGS),
        "wait": (("pid", "rootpid"), ("checkpoint", "restore", "fscheckpoint", "fsrestore")),
        "usage": ((), ("full", "fd")),
        "port-forward": (("stream",), ()),
        "debug": (_DEBUG_VALUES, ("stacks", "ps")),
    }
)
# Verbs with a verb after them.
NESTED = ("mounts", "tar", "trace")
_NESTED_VALUES = ("config", "name", "file")
# Verbs that name no container.
NO_CONTAINER = (
    *(
        "features",
        "spec",
        "list",
        "help",
        "h",
        "version",
        "info",
        "flags",
        "do",
        "boot",
        "gofer",
        "install",
        "uninstall",
    ),
    *("check", "env", "kata-check", "kata-env", "completion", "platforms", "syscalls"),
)


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
        elif word.startswith("-") and (option := word[1:].removeprefix("-")) in GLOBAL_VALUES:
            name = option
    return root


def make_launcher(link: str, program: str, args: Sequence[str], target: str, pins: str, search: str) -> Script:
    """Return the launcher of the stable path ``link``, which executes ``program`` with ``args``.

    ``target`` is the path that the pins of its containers name: a wrapper with the same program and arguments, or the
    program itself. ``pins`` is the directory of the pins. A program without a slash is searched for at each call in
    the directories of ``search``, separated by colons.
    """
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
    return make_script(link, "\n".join((_INTRODUCTION, *head)).encode(), _BODY)


def _words(names: Sequence[str]) -> str:
    """Return ``names`` as a quoted string with a blank around each."""
    return f"' {' '.join(names)} '" if names else "' '"


def _verb_cases() -> str:
    return "\n".join(
        f"    {verbs}) _rd_at=verb _rd_values={_words(values)} _rd_flags={_words(flags)} ;;"
        for verbs, (values, flags) in VERBS.items()
    )


_INTRODUCTION = """\
#!/bin/sh
# Written by runtimed. Never changed: a new text gets a new name.
# Executes a runtime. "create", "run" and "restore" record which one in a file of _rd_pins (a pin), and later calls for
# that container execute the same one. runtimed(8) describes it under "stable path"."""

_BODY = (
    """\
_rd_tab='\t' _rd_lf='
'
# Finds the last pin of the container $1. Returns 1 if there is none. Sets _rd_bad if its file cannot be read.
_rd_look() {
  _rd_file=$_rd_pins/$1 _rd_pin= _rd_line= _rd_bad= _rd_same=
  case $1 in
  '' | .* | *[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-]*) _rd_file=$_rd_pins/.other ;;
  *) [ ${#1} -le 200 ] || _rd_file=$_rd_pins/.other ;;
  esac
  [ -e "$_rd_file" ] || return 1
  [ -f "$_rd_file" ] && [ -r "$_rd_file" ] || { _rd_bad=$_rd_file; return 0; }
  # Every field is led by "=", because the shell skips empty ones. A line that ends early does not count.
  while IFS=$_rd_tab read -r _rd_v _rd_l _rd_r _rd_i _rd_s _rd_b _rd_t _rd_e; do
    [ "$_rd_i" = "=$1" ] && [ "$_rd_e" = . ] && [ "$_rd_v" = 1 ] || continue
    _rd_r=${_rd_r#=} _rd_s=${_rd_s#=}
    if [ "$_rd_r" = "$_rd_root" ] || [ "$_rd_r" -ef "$_rd_root" ]; then
      _rd_same=1
    elif [ "$_rd_same" ]; then
      continue
    elif [ "$_rd_root" ]; then
      # The container was created without --root; its state is in this root, or it is not known where.
      [ "$_rd_r" ] && continue
      [ -z "$_rd_s" ] || [ "$_rd_s" = "$_rd_root" ] || [ "$_rd_s" -ef "$_rd_root" ] || continue
    fi
    _rd_pin=$_rd_t _rd_state=$_rd_s
    _rd_line="1$_rd_tab$_rd_l$_rd_tab=$_rd_r$_rd_tab$_rd_i$_rd_tab=$_rd_s$_rd_tab$_rd_b$_rd_tab$_rd_t$_rd_tab."
  done 2>/dev/null <"$_rd_file"
  [ "$_rd_pin" ]
}
# Tells whether the container $1 may exist below one of the directories $2, $3, ...: runsc has files for it.
_rd_exists() {
  _rd_i=$1
  shift
  for _rd_d do
    for _rd_e in "$_rd_d/$_rd_i" "$_rd_d/$_rd_i"_sandbox:*; do [ -e "$_rd_e" ] && return 0; done
  done
  return 1
}
_rd_may_exist() {
  if [ "$_rd_state" ]; then
    _rd_exists "$1" "$_rd_state"
  else
    _rd_x=${XDG_RUNTIME_DIR:-/run}
    _rd_exists "$1" /run/runc /run/crun /run/runsc /run/youki "$_rd_x/runc" "$_rd_x/crun" "$_rd_x/runsc" "$_rd_x/youki"
  fi
}
# Pins the container $1, and sets _rd_pin to what later calls will find, also if the pin could not be recorded.
_rd_record() {
  case ${_rd_root:-$_rd_default_root} in
  /*) _rd_state=${_rd_root:-$_rd_default_root} ;;
  ?*) _rd_state=$PWD/${_rd_root:-$_rd_default_root} ;;
  *) _rd_state= ;;
  esac
  case $_rd_bundle in /*) ;; *) _rd_bundle= ;; esac
  case $_rd_target$_rd_root$1$_rd_state$_rd_bundle in
  /*["$_rd_tab$_rd_lf"]* | [!/]* | '') return ;;
  esac
  _rd_new="1$_rd_tab=$_rd_link$_rd_tab=$_rd_root$_rd_tab=$1$_rd_tab=$_rd_state"
  _rd_new="$_rd_new$_rd_tab=$_rd_bundle$_rd_tab$_rd_target$_rd_tab."
  [ "$_rd_line" = "$_rd_new" ] && return
  printf '\\n%s\\n' "$_rd_new" 2>/dev/null >>"$_rd_file"
  _rd_look "$1"
}

# Reads the command line. _rd_at is the part of it: global options, create, the options of a verb, a nested verb, or a
# verb that is not known. _rd_kind tells whether the previous argument was an option with a value or an unknown one.
_rd_at=global _rd_kind= _rd_end= _rd_root= _rd_id= _rd_bundle= _rd_pin= _rd_bad=
"""
    f"_rd_values={_words(GLOBAL_VALUES)}\n_rd_flags={_words(GLOBAL_FLAGS)}\n"
    """\
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
    _rd_name=${_rd_w#-} _rd_kind=
    case $_rd_at$_rd_w in
    global--root=* | global-root=* | global-r=*) _rd_root=${_rd_w#*=}; continue ;;
    global-r/*) _rd_root=${_rd_w#-r}; continue ;;
    create-b/*) _rd_bundle=${_rd_w#-b}; continue ;;
    create--b*=/* | create-b*=/*) _rd_bundle=${_rd_w#*=}; continue ;;
    *=*) continue ;;
    *--*) _rd_name=${_rd_name#-}; _rd_to= ;; # crun takes abbreviations
    *) _rd_to=' ' ;;
    esac
    case $_rd_flags in *" $_rd_name "*) continue ;; esac
    case $_rd_values in *" $_rd_name$_rd_to"*) _rd_kind=value ;; *) _rd_kind=unknown ;; esac
    continue ;;
  esac
  case $_rd_at in
  global)
    case $_rd_w in
"""
    f"    create | run | restore) _rd_at=create _rd_values={_words(_CREATE_VALUES)} _rd_flags=' ' ;;\n"
    f"{_verb_cases()}\n"
    f"    {' | '.join(NESTED)}) _rd_at=nested _rd_values={_words(_NESTED_VALUES)} _rd_flags=' ' ;;\n"
    f"    {' | '.join(NO_CONTAINER)}) break ;;\n"
    """\
    *) [ "$_rd_kind" ] || _rd_at=other _rd_values=' ' _rd_flags=' ' ;;
    esac ;;
  create) _rd_id=$_rd_w ;; # the last one counts
  nested) _rd_at=verb ;;
  verb) _rd_look "$_rd_w" && break; [ "$_rd_kind" ] || break ;;
  other) _rd_look "$_rd_w" && break ;;
  esac
  _rd_kind=
done

if [ "$_rd_id" ]; then
  # A container that may exist keeps its pin, whatever becomes of this call. A new one starts without a pin if need be.
  if _rd_look "$_rd_id" && [ "$_rd_bad" ]; then
    _rd_bad=
  elif [ -z "$_rd_pin" ] || ! _rd_may_exist "$_rd_id"; then
    _rd_record "$_rd_id"
    _rd_bad=
  fi
elif [ "$_rd_bad" ]; then
  printf 'runtimed: %s: cannot read which runtime this container was created with\\n' "$_rd_bad" >&2
  exit 125
fi
[ "$_rd_pin" ] && [ "$_rd_pin" != "$_rd_target" ] && exec "$_rd_pin" "$@"
_rd_current "$@"
"""
).encode()
