"""Which messages of a planner a device follows: those that a trusted key has signed, and none older than one before.

A device trusts the keys that it is given. Without one it trusts the first key whose signature it sees on a message that
only planners may publish, and keeps it. Until then it follows messages without a signature, as planners before
signatures publish them. A message whose number is below that of an earlier one on its topic is a replay.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.messages.base import MessageError
from shared.signatures import Signature, verified

_LOGGER = logging.getLogger(__name__)

_MAX_TOPICS: Final = 10_000

# Last number of each key, by topic.
Numbers = dict[str, dict[str, int]]


class UntrustedPlanner(MessageError):
    """A message of a planner that this device does not follow. The text says why, and how to follow it."""


@dataclass(slots=True)
class PlannerTrust:
    """The keys that a device trusts, and the last number seen on each topic. It does no I/O.

    Attributes:
        device: name of the device, for advice.
        root: prefix of every topic.
        given: keys from the configuration; empty to trust those that are kept, or the first that is seen.
        kept: keys from the state folder, or the first that was seen.
        numbers: last number of each key, by topic.
        is_changed: set with every change of `kept` and `numbers`; cleared when they are written to the disk.
    """

    device: str
    root: str
    given: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    numbers: Numbers = field(default_factory=dict)
    is_changed: bool = False
    _is_unsigned_noted: bool = field(default=False, init=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The trusted keys; empty while any planner is followed."""
        return self.given or self.kept

    def check(self, user: Mapping[str, str], topic: str, payload: bytes) -> None:
        """Check a message on a topic of the planner's, and note its number.

        Args:
            user: the message's user properties.
            topic: below the root.
            payload: the message's bytes.

        Raises:
            SignatureError: its signature is malformed, or does not belong to it.
            UntrustedPlanner: no trusted key has signed it, or it is older than one that was seen.
        """
        signature = verified(user, f"{self.root}/{topic}", payload)
        fault = self._unsigned() if signature is None else self._fault(signature, topic)
        if fault:
            raise UntrustedPlanner(fault)
        if signature is not None:
            self._take(signature, topic)

    def keep(self, keys: tuple[str, ...]) -> None:
        """Trust other keys from now on. Numbers begin again: a planner may come from a backup of its folder."""
        self.kept = keys
        self.numbers = {}
        self.is_changed = True

    def _unsigned(self) -> str:
        if self.keys:
            return f"it has no signature, and this device follows {self._shown()} only"
        if not self._is_unsigned_noted:
            self._is_unsigned_noted = True
            _LOGGER.warning("the planner does not sign its messages: whoever may publish on its topics is followed")
        return ""

    def _fault(self, signature: Signature, topic: str) -> str:
        remedy = (
            f"give the executor --planner-key {signature.key}"
            if self.given
            else f"run here: segue device trust {self.device} {signature.key}"
        )
        if self.keys and signature.key not in self.keys:
            return (
                f"it is signed with planner key {signature.key}, and this device follows {self._shown()} only. If this "
                f"is the key of your planner, {remedy}"
            )
        last = self.numbers.get(topic, {}).get(signature.key, 0)
        if signature.number < last:
            return (
                "it is older than a message that came before, as replayed ones are. If the planner's folder comes from "
                f"a backup, {remedy}"
            )
        return ""

    def _take(self, signature: Signature, topic: str) -> None:
        if not self.keys:
            self.kept = (signature.key,)
            self.is_changed = True
            _LOGGER.warning("this device follows planner key %s from now on", signature.key)
        numbers = self.numbers.setdefault(topic, {})
        if numbers.get(signature.key) != signature.number:
            numbers[signature.key] = signature.number
            self.is_changed = True
        # Only a trusted planner adds topics. Those of streams that are gone may be forgotten.
        while len(self.numbers) > _MAX_TOPICS:
            del self.numbers[next(iter(self.numbers))]

    def _shown(self) -> str:
        return f"planner key {' and '.join(self.keys)}"
