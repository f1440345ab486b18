"""The top-level keys of daemon.json: those that mean something here, and all others that dockerd knows.

Source of dockerd's: the JSON tags of ``daemon/config/config.go``, ``config_linux.go``, ``builder.go`` and
``registry/config.go`` of moby from 1.12 to August 2026, and the names of the flags in ``cmd/dockerd/config*.go``,
``options.go`` and ``daemon/command/config*.go``, which dockerd takes for keys as well. Removed and deprecated keys stay
in, because they stay in people's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Key -> field of config.Settings; of all the keys of the daemon itself.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "data-root": "data_root",
        "exec-root": "exec_root",
        "hosts": "hosts",
        "group": "group",
        "pidfile": "pidfile",
        "log-level": "log_level",
        "log-format": "log_format",
        "debug": "debug",
    }
)

KNOWN = frozenset({*SETTINGS, "runtimes", "default-runtime", "exec-opts", "runtimed"})

# Flags whose key in the file is spelt otherwise. dockerd accepts the flag's spelling in the file and then does not
# do what it says; a runtime that is silently left out of the table is worse than an error.
MISSPELT: Mapping[str, str] = MappingProxyType({"add-runtime": "runtimes", "exec-opt": "exec-opts", "host": "hosts"})

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


# An unknown key this close to one that means something here is taken for a misspelling of it.
_LETTERS = 2


def misspelt(key: str) -> str | None:
    """Return the key that means something here and that the unknown ``key`` misspells, None where it misspells none.

    A misspelling is one in case, or in at most two letters that are missing, added or replaced (Levenshtein distance).
    """
    wanted = key.casefold()
    if wanted in MISSPELT:
        return MISSPELT[wanted]
    close = [known for known in sorted(KNOWN, reverse=True) if abs(len(known) - len(wanted)) <= _LETTERS]
    # Of equally close ones the first: "runtimes" is before "runtimed" here.
    nearest = min(close, key=lambda known: _distance(known, wanted), default=None)
    return nearest if nearest is not None and _distance(nearest, wanted) <= _LETTERS else None


def _distance(one: str, other: str) -> int:
    """Return the Levenshtein distance of two short words."""
    row = list(range(len(other) + 1))
    for index, left in enumerate(one, 1):
        before, row[0] = row[0], index
        for column, right in enumerate(other, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (left != right))
    return row[-1]
