"""Broken and slow runtimes: scripts that call crun, and do something else before, after or in place of a verb."""

from __future__ import annotations

CRUN = "/usr/bin/crun"
_SCRIPT = """\
#!/bin/sh
for word do
  case $word in create | start | kill | delete) verb=$word; break ;; esac
done
for id do :; done
case $* in *'--bundle '*) bundle=${{*#*--bundle }}; bundle=${{bundle%% *}} ;; esac
case $verb in
{cases}
esac
exec {real} "$@"
"""
_EDIT = "sed -i 's/exit 42/{text}/' $bundle/config.json"
_CASES = {
    "fails-in-create": "create) echo no luck today >&2; exit 3 ;;",
    "fails-in-start": "start) echo cannot start >&2; exit 4 ;;",
    "fails-in-delete": "delete) echo cannot delete >&2; exit 5 ;;",
    "hangs-in-create": "create) sleep 1000 ;;",
    "hangs-in-wait": f"create) {_EDIT.format(text='sleep 1000')} ;;",
    "leaves-a-cgroup": 'delete) {real} "$@"; mkdir $(grep -o "/[^ ]*/pids" /proc/self/mounts)/$id/; exit 0 ;;',
    "leaves-a-process": "delete) setsid sleep 1000 >/dev/null 2>&1 & ;;",
    "leaves-a-mount": "delete) mkdir /run/$id/here; mount -t tmpfs none /run/$id/here ;;",
    "returns-another-status": f"create) {_EDIT.format(text='exit 7')} ;;",
    "runs-another-program": "create) sed -i 's/show() {{/echo welcome; exit; &/' $bundle/config.json ;;",
    "names-another-process": 'create) {real} "$@"; echo 1 >$bundle/pid; exit 0 ;;',
    "prints-without-end": f"create) {_EDIT.format(text='while :; do echo spam; done')} ;;",
    # These make the file {mark} when they are slow.
    "slow-create": "create) : >{mark}; exec sleep 1000 ;;",
    # The container is there, and its creation does not end.
    "slow-created": 'create) {real} "$@"; : >{mark}; exec sleep 1000 ;;',
    "slow-start": "start) : >{mark}; exec sleep 1000 ;;",
    "slow-wait": """\
create) sed -i 's/exit 42/sleep 1000; &/' $bundle/config.json ;;
start) {real} "$@"; : >{mark}; exit 0 ;;""",
    # "delete --force" is the clean-up after a failure.
    "slow-delete": "delete) case $* in *--force*) ;; *) : >{mark}; exec sleep 1000 ;; esac ;;",
    # Its deletion begins when somebody has removed the mark.
    "takes-a-moment": """\
start) {real} "$@"; : >{mark}; exit 0 ;;
delete) while [ -e {mark} ]; do sleep 0.05; done ;;""",
}
SLOW = [name for name in _CASES if name.startswith("slow-")]
_PAGE = "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>crun: not found</body></html>\n"
_ONLY_A_VERSION = '#!/bin/sh\ncase $1 in --version) echo "crun version 9.9" ;; esac\n'


def broken_runtimes(marks: str) -> dict[str, str]:
    """Return the texts of the runtimes by name; the slow ones make a file of their name in the directory ``marks``."""
    texts = {
        name: _SCRIPT.format(cases=cases.format(real=CRUN, mark=f"{marks}/{name}"), real=CRUN)
        for name, cases in _CASES.items()
    }
    scripts = {"web-page": _PAGE, "only-a-version": _ONLY_A_VERSION, "lacks-python": "#!/nowhere/python9\n"}
    return {**texts, **scripts}
