"""The files of accounts and access rules in Mosquitto's format.

VerneMQ reads the same format of rules (`vmq_acl`). docs/access-rights.md has the rules as a table for other brokers.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Final

from broker.bridge_topics import BridgeTopic, Direction
from shared.bus.account_rights import Account, filters_to_publish, filters_to_receive

# Mosquitto's own number. More would not help: passwords of a fleet are random and have 192 bits.
_ITERATIONS: Final = 101
_SALT_BYTES: Final = 12
_HEADING: Final = "# Written by `segue fleet`. Changes are lost with its next command. What is not listed is refused.\n"


def access_rules(accounts: Iterable[Account], root: str) -> str:
    """Return the text of an access control list. What no line allows is refused.

    Args:
        accounts: every account. No line is for all of them: a rule with `%u` would hold for each kind of account.
        root: prefix of every topic.
    """
    return _HEADING + "".join(f"{line}\n" for account in accounts for line in _rules_of(account, root))


def bridge_rules(account: str, crossing: Iterable[BridgeTopic], root: str) -> str:
    """Return the rules of the account of a site's bridge at the first broker: what crosses, and nothing else.

    Args:
        account: its user name.
        crossing: what crosses.
        root: prefix of every topic.
    """
    lines = ["", "# bridge", f"user {account}"]
    for each in crossing:
        access = {Direction.OUT: "write", Direction.IN: "read", Direction.BOTH: "readwrite"}[each.direction]
        lines.append(f"topic {access} {root}/{each.topic_filter}")
    return "".join(f"{line}\n" for line in lines)


def _rules_of(account: Account, root: str) -> Iterator[str]:
    yield ""
    yield f"# {account.role.value}"
    yield f"user {account.name}"
    for topic_filter in filters_to_publish(account):
        yield f"topic write {root}/{topic_filter}"
    for topic_filter in filters_to_receive(account):
        yield f"topic read {root}/{topic_filter}"


def hashed_password(password: str) -> str:
    """Return a password as it stands in Mosquitto's password file: salted, PBKDF2 with SHA-512 (RFC 8018)."""
    salt = os.urandom(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
