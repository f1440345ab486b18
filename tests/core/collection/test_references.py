"""Tests of the search for binaries in options messages, options.json, arguments and files."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimed.core.collection.references import (
    DamagedBundle,
    Reference,
    ReferenceScan,
    binary_of_options,
    binary_of_options_json,
    engine_paths_in_arguments,
    engine_paths_in_text,
    paths_in_arguments,
    references_of_pins,
    runc_options_of_json,
    shim_address,
    wrappers_in_text,
)
from runtimed.core.containerd.api import (
    Container,
    UndecodableMessage,
    decode_container,
    decode_namespaces,
    decode_sandboxes,
    new_message,
)
from runtimed.core.containerd.names import file_name
from runtimed.core.containerd.options import (
    GENERIC,
    MESSAGES,
    RUNC,
    Options,
    UndecodableOptions,
    decode_options,
    encode_options,
    make_options,
)
from runtimed.core.errors import RuntimedError
from runtimed.core.pins import Pin
from runtimed.core.table.wrapper import make_wrapper

ROOT = "/var/lib/runtimed"
NAME = "gvisor-0123456789abcdef0123456789abcdef"
WRAPPER = f"{ROOT}/wrappers/{NAME}"
# As ctr 1.6 sent it to containerd 1.6 for --runc-binary /usr/bin/crun.
FROM_CTR = base64.b64decode("Mg0vdXNyL2Jpbi9jcnVu")
LINUX = "containerd.linux.runc.RuncOptions"


@pytest.mark.parametrize("prefix", ["", "types.containerd.io/", "type.googleapis.com/"])
def test_the_binary_of_runc_options_is_found_with_and_without_a_prefix(prefix: str) -> None:
    assert binary_of_options(prefix + RUNC, FROM_CTR) == "/usr/bin/crun"


@pytest.mark.parametrize(
    ("type_url", "value", "binary"),
    [
        # the first shim of containerd 1 has another message: runtime = 1, runtime_root = 2
        (LINUX, b"\x0a\x05/a/rc\x12\x02/r", "/a/rc"),
        (LINUX, b"", None),
        # no options, and options without a binary
        ("", b"", None),
        (RUNC, b"", None),
        (RUNC, encode_options(make_options(RUNC, {"root": "/r"})), None),
        # a message that a newer containerd added fields to
        (RUNC, FROM_CTR + b"\xfa\x01\x03new", "/usr/bin/crun"),
        # messages of other shims have no known fields
        (GENERIC, encode_options(make_options(GENERIC, {"config_path": "/etc/kata.toml"})), None),
        ("io.containerd.runsc.v1.options", b"\xff", None),
    ],
)
def test_the_binary_of_options_is_found_or_none(type_url: str, value: bytes, binary: str | None) -> None:
    assert binary_of_options(type_url, value) == binary


@pytest.mark.parametrize(
    ("type_url", "value"),
    [
        # cut off in the middle; no text; no message
        (RUNC, FROM_CTR[:-1]),
        (RUNC, b"\x32\x02\xff\xfe"),
        (LINUX, b"\xff\xff"),
    ],
)
def test_undecodable_options_are_an_error(type_url: str, value: bytes) -> None:
    with pytest.raises(RuntimedError, match="undecodable"):
        binary_of_options(type_url, value)


@st.composite
def options(draw: st.DrawFn) -> Options:
    kinds: dict[str, st.SearchStrategy[object]] = {
        "bool": st.booleans(),
        "string": st.text(),
        "uint32": st.integers(0, 2**32 - 1),
        "bytes": st.binary(),
    }
    message = draw(st.sampled_from(sorted(MESSAGES)))
    fields = {f.name: draw(kinds[f.kind]) for f in MESSAGES[message] if draw(st.booleans())}
    return make_options(message, fields)  # type: ignore[arg-type]


@given(options())
def test_decoding_encoded_options_restores_them_without_defaults(given: Options) -> None:
    found = decode_options(f"types.containerd.io/{given.type_url}", encode_options(given))
    assert found.type_url == given.type_url
    assert found.fields == tuple((name, value) for name, value in given.fields if value)


def test_an_unknown_message_is_not_decoded() -> None:
    with pytest.raises(UndecodableOptions, match=r"x\.Options: an unknown message"):
        decode_options("x.Options", b"")


@pytest.mark.parametrize(
    ("data", "binary"),
    [(b"{}", None), (b'{"binary_name":"/a b"}', "/a b"), (b'{"binary_name":"","root":"/r"}', None)],
)
def test_the_binary_of_an_options_json_is_found_or_none(data: bytes, binary: str | None) -> None:
    assert binary_of_options_json(data) == binary


def test_the_root_of_an_options_json_is_found_or_none() -> None:
    assert runc_options_of_json(b'{"binary_name":"/b","root":"/r","x":1}') == ("/b", "/r")
    assert runc_options_of_json(b"{}") == ("", "")
    with pytest.raises(DamagedBundle, match="strings"):
        runc_options_of_json(b'{"root":null}')


@pytest.mark.parametrize("data", [b"", b'{"binary_na', b"[]", b'{"binary_name":1}', b"\xff", b"[" * 100_000])
def test_an_invalid_options_json_is_an_error(data: bytes) -> None:
    with pytest.raises(DamagedBundle):
        binary_of_options_json(data)


@pytest.mark.parametrize(
    ("argv", "paths"),
    [
        # podman and CRI-O start conmon like this
        (["/usr/bin/conmon", "--api-version", "1", "-c", "abc", "-r", "/opt/crun", "-b", "/run/x"], ["/opt/crun"]),
        (["conmon", "--runtime", WRAPPER], [WRAPPER, NAME]),
        # a bind mount of the directory of wrappers
        (["conmon", "-r", f"/mnt/{NAME}"], [f"/mnt/{NAME}"]),
        (["/usr/libexec/podman/conmon", "--runtime=/opt/crun"], ["/opt/crun"]),
        (["conmon", "-r/opt/crun"], ["/opt/crun"]),
        (["conmonrs", "--runtime", "/opt/crun"], ["/opt/crun"]),
        # any program may have --runtime; -r has another meaning elsewhere
        (["podman", "--runtime", f"{ROOT}/runtimes/gvisor", "run"], [f"{ROOT}/runtimes/gvisor", "gvisor"]),
        (["rm", "-r", "/opt/crun"], []),
        (["ctr", "run", "--runtime", "io.containerd.runc.v2", "--runc-binary", WRAPPER], [NAME]),
        (["conmon", "-r"], []),
        # in the middle of a word, twice in one, through a generation, through an alias of the data root
        (["sh", "-c", f"exec '{WRAPPER}' create; {ROOT}/runtimes/kata"], [NAME, "kata"]),
        ([f"--x={ROOT}/generations/00000042/runtimes/kata"], ["kata"]),
        (["x", "--option=/srv/link/wrappers/a-1"], ["a-1"]),
        (["x", f"--option=/srv/runtimes/wrappers/{NAME}"], [NAME, "wrappers"]),
        # neither the data root itself nor a name that only sounds like it
        (["runtimed", "--data-root", ROOT, "/x/wrappers/", "wrappers/a"], []),
        ([], []),
        ([""], []),
    ],
)
def test_runtimes_and_wrappers_are_found_in_arguments(argv: list[str], paths: list[str]) -> None:
    assert list(paths_in_arguments([word.encode() for word in argv])) == paths


def test_a_wrapper_below_a_data_root_with_blanks_is_found() -> None:
    assert paths_in_arguments([b"x=/my data (old)/r/wrappers/a-1 y"]) == ("a-1",)


@given(st.text(min_size=1))
def test_the_wrapper_and_the_stable_path_of_any_runtime_are_found(name: str) -> None:
    for path in (f"{ROOT}/wrappers/{make_wrapper(name, '/x', ('y',)).file}", f"{ROOT}/runtimes/{file_name(name)}"):
        assert paths_in_arguments([f"sh -c 'exec {path} run'".encode()]) == (path.rpartition("/")[2],)


@pytest.mark.parametrize("part", [b"/", b"/wrappers/", b"/wrappers/= ", b"/wrappers", ROOT.encode() + b"/wrappers/"])
def test_hostile_arguments_are_searched_fast(part: bytes) -> None:
    begin = time.process_time()
    paths_in_arguments([b"x", part * (131_000 // len(part)) + b"/wrappers/"])
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("argv", "address"),
    [
        ("/usr/bin/containerd-shim-runc-v2 -namespace moby -id a -address /run/c.sock -debug", "/run/c.sock"),
        ("containerd-shim-kata-v2 --address /run/c.sock", "/run/c.sock"),
        ("containerd-shim-runc-v2 -id a -address", None),
        ("cat -address /run/c.sock", None),
    ],
)
def test_the_socket_of_containerd_is_found_in_the_arguments_of_a_shim(argv: str, address: str | None) -> None:
    assert shim_address(argv.encode().split()) == address
    assert shim_address([]) is None


def test_a_container_is_read_from_the_bytes_that_containerd_1_6_sends() -> None:
    options = b"\x0a\x1acontainerd.runc.v1.Options\x12\x0e2\x0c/tmp/cx/w/gv"
    runtime = b"\x0a\x15io.containerd.runc.v2\x12" + bytes([len(options)]) + options
    # id = 1, labels = 2, runtime = 4, created_at = 8
    container = b"\x0a\x02gv" + b"\x12\x06\x0a\x01k\x12\x01v" + b"\x22" + bytes([len(runtime)]) + runtime + b"\x42\x00"
    data = b"\x0a" + bytes([len(container)]) + container
    expected = Container("moby", "gv", "io.containerd.runc.v2", RUNC, b"2\x0c/tmp/cx/w/gv")
    assert decode_container("moby", data) == expected
    assert decode_namespaces(b"\x0a\x09\x0a\x07default\x0a\x06\x0a\x04moby") == ("default", "moby")


def test_sandboxes_are_read_from_the_bytes_that_containerd_2_sends() -> None:
    options = b"\x0a\x1acontainerd.runc.v1.Options\x12\x0e2\x0c/tmp/cx/w/gv"
    runtime = b"\x0a\x15io.containerd.runc.v2\x12" + bytes([len(options)]) + options
    # sandbox_id = 1, runtime = 2, labels = 4, created_at = 5, sandboxer = 10
    sandbox = b"\x0a\x02sb\x12" + bytes([len(runtime)]) + runtime
    sandbox += b"\x22\x06\x0a\x01k\x12\x01v" + b"\x2a\x00" + b"\x52\x04shim"
    one = b"\x0a" + bytes([len(sandbox)]) + sandbox
    expected = Container("k8s.io", "sb", "io.containerd.runc.v2", RUNC, b"2\x0c/tmp/cx/w/gv", is_sandbox=True)
    assert decode_sandboxes("k8s.io", one + one) == (expected, expected)
    assert decode_sandboxes("k8s.io", b"") == ()


def test_an_invalid_message_is_an_error() -> None:
    with pytest.raises(UndecodableMessage, match="undecodable ListNamespacesResponse"):
        decode_namespaces(b"\xff")
    # a message without a container would be one container less
    with pytest.raises(UndecodableMessage, match="without an id"):
        decode_container("moby", new_message("ContainerMessage").SerializeToString())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f'{{"runtimes":{{"x":{{"path":"{WRAPPER}"}}}}}}', {NAME}),
        (f"BinaryName = '{ROOT}/runtimes/gvisor'", {"gvisor"}),
        # a database: bytes of all kinds around it
        (f"\0\xff{WRAPPER}\0{ROOT}/wrappers/b-1\1", {NAME, "b-1"}),
        # a systemd unit, which doubles a percent sign
        (f"ExecStart=podman --runtime {ROOT}/runtimes/a%%2fb run", {"a%2fb", "a%%2fb"}),
        # the data root by another path
        (f"/mnt/wrappers/{NAME}", {NAME}),
        (f"/srv/runtimes/wrappers/{NAME}", {NAME, "wrappers"}),
        ("/usr/bin/runsc", set()),
        ("", set()),
    ],
)
def test_wrappers_are_found_in_the_files_of_engines(text: str, names: set[str]) -> None:
    assert wrappers_in_text(text.encode("latin-1")) == names


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"data-root": "/srv/my docker/"}', {"/srv/my docker"}),
        ('{\n"graph":"/srv/g"}', {"/srv/g"}),
        ('[storage]\ngraphroot = "/srv/c"\nrunroot = "/run/c"', {"/srv/c"}),
        ("static_dir='/srv/libpod'", {"/srv/libpod"}),
        ("ExecStart=/usr/bin/dockerd --data-root=/srv/a --config-file /etc/b.json -H fd://", {"/srv/a", "/etc/b.json"}),
        ('{"data-root": "relative"}', set()),
        ('{"data-root": "/"}', set()),
    ],
)
def test_the_paths_of_engine_files_are_found_in_json_toml_and_command_lines(text: str, places: set[str]) -> None:
    assert engine_paths_in_text(text.encode()) == places


def test_only_the_arguments_of_engines_name_engine_files() -> None:
    assert engine_paths_in_arguments([b"/usr/bin/dockerd", b"--data-root", b"/srv/a", b"-D"]) == {"/srv/a"}
    assert engine_paths_in_arguments([b"podman", b"--root=/srv/b", b"ps"]) == {"/srv/b"}
    assert engine_paths_in_arguments([b"tar", b"--root", b"/srv/c"]) == set()
    assert engine_paths_in_arguments([]) == set()


def test_a_pin_is_a_reference_to_its_wrapper_and_its_stable_path() -> None:
    pins = [
        Pin("gvisor", "/r", "a", "/r", "/b", WRAPPER),
        Pin("gvisor", "", "odd\n\udcff", "", "", WRAPPER),
        # The target of a runtime without arguments would keep the wrappers of one that is called "runc".
        Pin("x", "/r", "b", "/r", "/b", "/usr/bin/runc"),
    ]
    assert references_of_pins(pins, ["unreadable"]) == ReferenceScan(
        (
            Reference(WRAPPER, "container a (pin)"),
            Reference(WRAPPER, "container odd\\n\\xff (pin)"),
            Reference("runtimes/gvisor", "container odd\\n\\xff (pin)"),
            Reference("runtimes/x", "container b (pin)"),
        ),
        ("unreadable",),
    )
