"""What podman changes in the network of this machine, put back afterwards: forwarding, and rules of iptables."""

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_TABLES: Final = ("filter", "nat")
_OWN: Final = "NETAVARK"


@contextlib.contextmanager
def unchanged_network() -> Iterator[None]:
    """Put forwarding and rules back to what they were, at the end of the block. Its containers must be gone then."""
    forwarding = _FORWARDING.read_text()
    before = {table: _rules(table) for table in _TABLES}
    try:
        yield
    finally:
        _FORWARDING.write_text(forwarding)
        for table in _TABLES:
            for command in removals(before[table], _rules(table)):
                subprocess.run(("iptables", "-w", "-t", table, *command), check=False, capture_output=True)


def removals(before: list[list[str]], after: list[list[str]]) -> list[list[str]]:
    """Return the arguments of iptables that remove podman's new rules, then its new chains.

    Args:
        before: rules in the form of `iptables -S`, one list of words each.
        after: the same, later.
    """
    new = [rule for rule in after if rule not in before and any(word.startswith(_OWN) for word in rule)]
    rules = [["-D", *rule[1:]] for rule in new if rule[0] == "-A"]
    return [*rules, *(["-X", rule[1]] for rule in new if rule[0] == "-N")]


def _rules(table: str) -> list[list[str]]:
    done = subprocess.run(("iptables", "-w", "-t", table, "-S"), check=False, capture_output=True, text=True)
    # A comment in quotes is one word.
    return [shlex.split(line) for line in done.stdout.splitlines()]
