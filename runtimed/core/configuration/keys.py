"""Lists the keys at the top of daemon.json: those that runtimed reads, and all others that dockerd knows.

Source of dockerd's: the JSON tags of ``daemon/config/config.go``, ``config_linux.go``, ``builder.go`` and
``registry/config.go`` of moby from 1.12 to August 2026, and the names of the flags in ``cmd/dockerd/config*.go``,
``options.go`` and ``daemon/command/config*.go``, which dockerd accepts as keys as well. Removed and deprecated keys are
in the list because they are in people's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from runtimed.core import config

SETTINGS = frozenset(keys[0] for keys in config.SETTINGS)
KNOWN = SETTINGS | {"runtimes"}

# Flags whose key in the file is spelt otherwise. dockerd accepts the flag's spelling in the file and then ignores it; a
# runtime that is silently left out of the table is worse than an error.
MISSPELT: Mapping[str, str] = MappingProxyType(
    {
        flag.removeprefix("--"): setting.key
        for setting in config.SETTINGS.values()
        for flag in setting.flags
        if flag.startswith("--") and flag != f"--{setting.key}"
    }
    | {"add-runtime": "runtimes"}
)

IGNORED = frozenset(
    """
    allow-direct-routing allow-nondistributable-artifact allow-nondistributable-artifacts api-cors-header
    api-enable-cors authorization-plugin authorization-plugins bip bip6 bridge bridge-accept-fwmark
    builder cdi-spec-dir cdi-spec-dirs cgroup-parent cluster-advertise cluster-store cluster-store-opt
    cluster-store-opts config-file containerd containerd-namespace containerd-plugin-namespace
    containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd default-address-pool
    default-address-pools default-cgroupns-mode default-gateway default-gateway-v6 default-init default-ipc-mode
    default-network-opt default-network-opts default-shm-size default-stop-timeout default-ulimit default-ulimits
    deprecated-key-path
    disable-legacy-registry dns dns-opt dns-opts dns-search experimental feature features firewall-backend
    fixed-cidr fixed-cidr-v6 graph help host-gateway-ip host-gateway-ips http-proxy https-proxy icc init init-path
    insecure-registries insecure-registry ip ip-forward ip-forward-no-drop ip-masq ip6tables iptables ipv6 label labels
    live-restore log-driver log-opt log-opts max-concurrent-downloads max-concurrent-uploads max-download-attempts
    metrics-addr min-api-version mtu network-control-plane-mtu network-diagnostic-port no-new-privileges no-proxy
    node-generic-resource node-generic-resources nri-opts oom-score-adjust proxies raw-logs registry-mirror
    registry-mirrors resolv-conf restart rootless seccomp-profile selinux-enabled shutdown-timeout storage-driver
    storage-opt storage-opts swarm-default-advertise-addr swarm-raft-election-tick swarm-raft-heartbeat-tick tls
    tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap validate version
    """.split()  # noqa: SIM905 - a hundred names read better as a paragraph
)

# The largest number of letters in which a misspelling differs.
_LETTERS = 2


def misspelt(key: str) -> str | None:
    """Return the key of runtimed that the unknown ``key`` misspells, None if there is none.

    A misspelling is one in case, or in at most two letters that are missing, added or replaced (Levenshtein distance).
    """
    wanted = key.casefold()
    if wanted in MISSPELT:
        return MISSPELT[wanted]
    # The reverse order puts "runtimes" before "runtimed": of equally close keys the first one is returned.
    close = [known for known in sorted(KNOWN, reverse=True) if abs(len(known) - len(wanted)) <= _LETTERS]
    distances = {known: _distance(known, wanted) for known in close}
    nearest = min(close, key=distances.__getitem__, default=None)
    return nearest if nearest is not None and distances[nearest] <= _LETTERS else None


def _distance(one: str, other: str) -> int:
    """Return the Levenshtein distance of two short words."""
    row = list(range(len(other) + 1))
    for index, left in enumerate(one, 1):
        before, row[0] = row[0], index
        for column, right in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (left != right))
    return row[-1]
