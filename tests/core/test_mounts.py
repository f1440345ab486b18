from __future__ import annotations

import pytest

from runtimed.core.mounts import is_read_only_for_all

# The root file system, and a volume of the kubelet's on the same disk that a container sees at /etc/runtimed.
HOST = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
OTHER = b"40 22 0:30 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755\n"
VOLUME = b"500 400 254:0 /pods/1/volume /etc/runtimed ro,relatime - ext4 /dev/vda rw,discard\n"
CONTAINER = b"400 300 0:50 / / rw - overlay overlay rw,lowerdir=/l\n" + VOLUME


def judged(own: bytes, first: bytes, mount: int, path: bytes, *, several_names: bool = False) -> bool:
    return is_read_only_for_all(own, first, mount, path, several_names=several_names)


def test_a_mount_that_is_read_only_for_this_process_only_does_not_count() -> None:
    # The daemon's view with ProtectSystem=strict.
    own = b"900 1 254:0 / / ro,relatime master:1 - ext4 /dev/vda rw,discard\n"
    assert not judged(own, HOST, 900, b"/etc/runtimed/daemon.json")
    # /etc is read-only on the host, with the whole disk or as a separate mount.
    assert judged(own, HOST.replace(b" rw,relatime", b" ro,relatime"), 900, b"/etc/runtimed/daemon.json")
    etc = b"23 22 254:0 /etc /etc ro - ext4 /dev/vda rw\n"
    assert not judged(own, HOST + etc, 900, b"/etc/daemon.json"), "the disk can still be written through /"


def test_a_read_only_file_system_is_read_only_for_all() -> None:
    own = b"900 1 0:77 / /mnt rw,relatime - tmpfs none ro,size=4k\n"
    assert judged(own, b"", 900, b"/mnt/daemon.json")


def test_a_read_only_volume_counts_if_process_1_is_in_the_container() -> None:
    assert judged(CONTAINER, CONTAINER, 500, b"/etc/runtimed/..data/daemon.json")
    assert judged(CONTAINER, CONTAINER, 500, b"/etc/runtimed")
    # Other files of the same disk are mounted beside it, as /etc/hosts is, and they can be written.
    hosts = b"501 400 254:0 /pods/1/etc-hosts /etc/hosts rw - ext4 /dev/vda rw\n"
    assert judged(CONTAINER + hosts, CONTAINER + hosts, 500, b"/etc/runtimed/daemon.json")


@pytest.mark.parametrize(
    "second",
    [
        b"/pods/1/volume /elsewhere",  # the volume itself
        b"/pods/1 /elsewhere",  # a directory above it
        b"/ /elsewhere",
    ],
)
def test_a_second_writable_mount_makes_the_file_writable(second: bytes) -> None:
    more = CONTAINER + b"502 400 254:0 " + second + b" rw - ext4 /dev/vda rw\n"
    assert not judged(CONTAINER, more, 500, b"/etc/runtimed/daemon.json")
    assert judged(CONTAINER, more.replace(second + b" rw", second + b" ro"), 500, b"/etc/runtimed/daemon.json")


def test_with_hard_links_every_mount_of_the_file_system_counts() -> None:
    more = CONTAINER + b"502 400 254:0 /other /elsewhere rw - ext4 /dev/vda rw\n"
    assert judged(CONTAINER, more, 500, b"/etc/runtimed/daemon.json")
    assert not judged(CONTAINER, more, 500, b"/etc/runtimed/daemon.json", several_names=True)


@pytest.mark.parametrize(
    ("own", "first", "mount", "path"),
    [
        (CONTAINER, b"", 500, b"/etc/runtimed/daemon.json"),  # hidden by ProtectProc= or hidepid=
        (CONTAINER, OTHER, 500, b"/etc/runtimed/daemon.json"),  # process 1 is in another container
        (CONTAINER, CONTAINER, 501, b"/etc/runtimed/daemon.json"),  # unmounted meanwhile
        (CONTAINER, CONTAINER, 500, b"/etc/other/daemon.json"),  # mounted over meanwhile
        (b"", b"", 500, b"/x"),
        (b"500 400 garbage\n", b"", 500, b"/x"),
    ],
)
def test_incomplete_tables_mean_not_read_only(own: bytes, first: bytes, mount: int, path: bytes) -> None:
    assert not judged(own, first, mount, path)


@pytest.mark.parametrize("kind", [b"nfs4", b"fuse.sshfs", b"fuse", b"9p"])
def test_a_remote_file_system_is_not_read_only(kind: bytes) -> None:
    table = b"9 1 0:9 / /mnt ro - " + kind + b" server:/x ro,vers=4\n"
    assert not judged(table, table, 9, b"/mnt/x")
    assert judged(table.replace(kind, b"ext4"), b"", 9, b"/mnt/x")


@pytest.mark.parametrize("kind", [b"overlay", b"aufs"])
def test_a_stacked_file_system_is_not_read_only(kind: bytes) -> None:
    table = b"7 1 0:99 / /etc ro - %b none ro,lowerdir=/l\n" % kind
    assert not is_read_only_for_all(table, table, 7, b"/etc/runtimed/daemon.json", several_names=False)


def test_the_root_of_a_separate_disk_is_found() -> None:
    table = b"9 1 8:1 / /mnt ro - ext4 /dev/sda rw\n"
    assert judged(table, table, 9, b"/mnt")
    assert judged(b"9 1 8:1 / / ro - ext4 /dev/sda rw\n", table, 9, b"/")


def test_escaped_blanks_and_removed_files_are_parsed() -> None:
    table = rb"9 1 8:1 /a\040b//deleted /c\040d ro - ext4 /dev/sda rw" + b"\n"
    assert judged(table, table, 9, b"/c d")
    # The file that was removed from /a b can still be open for writing there.
    assert not judged(table, table + b"10 1 8:1 / /host rw - ext4 /dev/sda rw\n", 9, b"/c d")
