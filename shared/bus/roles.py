"""Roles of accounts, and how far a right of a role reaches.

Every topic states the roles that publish on it and those that subscribe to it (`shared.bus.topics`). The access rules
of a broker are derived from these statements (`shared.bus.account_rights`).
"""

from enum import StrEnum


class Role(StrEnum):
    """What the holder of an account is."""

    DEVICE = "device"
    """The executor and the monitor of one device."""
    PLANNER = "planner"
    COLLECTOR = "collector"
    OPERATOR = "operator"
    """A person who adds models, declares streams and sets policies."""
    APPLICATION = "application"
    """A program that sends requests to its streams."""
    VIEWER = "viewer"
    """A person or a program that looks at the fleet, and sees no request and no result."""


class Reach(StrEnum):
    """For which names of a topic's variable levels a right holds."""

    OWN = "own"
    """Those of the account: its name, its monitor, its streams."""
    ANY = "any"
