from __future__ import annotations

import pytest

from runtimed.core.mounts import covering_mount, is_read_only_for_all, is_remote, parse_mounts

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


MOUNTINFO = rb"""22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/l
23 22 0:22 / /proc rw - proc proc rw
24 22 8:1 / /mnt/a\040b\134c rw shared:1 - ext4 /dev/sda1 rw
25 22 0:40 / /srv rw - nfs4 host:/x rw
26 25 0:41 / /srv/local rw - tmpfs none rw
27 22 0:42 / /ssh rw - fuse.sshfs host: rw
28 22 0:43 / /srv rw - ext4 /dev/sdb rw
29 22 0:44 /old//deleted /new rw - ext4 /dev/sdc rw
cut off
"""


def test_a_table_of_mounts_is_read_with_its_escapes() -> None:
    assert [(mount.point, mount.kind) for mount in parse_mounts(MOUNTINFO)] == [
        (b"/", "overlay"),
        (b"/proc", "proc"),
        (b"/mnt/a b\\c", "ext4"),
        (b"/srv", "nfs4"),
        (b"/srv/local", "tmpfs"),
        (b"/ssh", "fuse.sshfs"),
        (b"/srv", "ext4"),
        (b"/new", "ext4"),
    ]
    assert [mount.root for mount in parse_mounts(MOUNTINFO) if mount.is_outdated] == [b"/old"]


def test_a_carriage_return_in_a_mount_point_hides_no_mount() -> None:
    # The kernel escapes blanks, tabs, newlines and backslashes only.
    own = b"9 1 8:1 / /etc ro - ext4 /dev/sda rw\n"
    writable = b"10 1 8:1 / /host\rcopy rw - ext4 /dev/sda rw\n"
    assert not judged(own, own + writable, 9, b"/etc/runtimed/daemon.json")


@pytest.mark.parametrize(
    ("directory", "kind", "remote"),
    [
        ("/", "overlay", False),
        ("/etc", "overlay", False),
        ("/srvx", "overlay", False),
        ("/srv/local/x", "tmpfs", False),
        # The last mount at a point is the visible one.
        ("/srv/x", "ext4", False),
        ("/ssh", "fuse.sshfs", True),
        ("/ssh/deep/er", "fuse.sshfs", True),
    ],
)
def test_a_directory_lies_on_the_innermost_mount_that_was_made_last(directory: str, kind: str, remote: bool) -> None:
    mount = covering_mount(parse_mounts(MOUNTINFO), directory.encode())
    assert mount is not None
    assert (mount.kind, is_remote(mount.kind)) == (kind, remote)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse", "fuseblk", "fuse.glusterfs", "ceph", "virtiofs"])
def test_a_file_system_that_other_machines_change_is_remote(kind: str) -> None:
    assert is_remote(kind)
