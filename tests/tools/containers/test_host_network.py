"""Rules of iptables that podman leaves behind."""

from tools.containers.host_network import removals


def test_only_new_rules_of_podman_are_removed_and_rules_before_chains() -> None:
    kept = [["-P", "FORWARD", "ACCEPT"], ["-N", "NETAVARK_OLD"], ["-A", "FORWARD", "-j", "NETAVARK_OLD"]]
    new = [
        ["-N", "NETAVARK_FORWARD"],
        ["-N", "DOCKER"],
        ["-A", "FORWARD", "-m", "comment", "--comment", "netavark firewall plugin rules", "-j", "NETAVARK_FORWARD"],
        ["-A", "FORWARD", "-j", "DOCKER"],
        ["-A", "NETAVARK_FORWARD", "-d", "10.89.0.0/24", "-j", "ACCEPT"],
    ]
    assert removals(kept, [*kept, *new]) == [
        ["-D", "FORWARD", "-m", "comment", "--comment", "netavark firewall plugin rules", "-j", "NETAVARK_FORWARD"],
        ["-D", "NETAVARK_FORWARD", "-d", "10.89.0.0/24", "-j", "ACCEPT"],
        ["-X", "NETAVARK_FORWARD"],
    ]
    assert removals(kept, kept) == []
