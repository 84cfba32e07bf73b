"""Check of the messages that a broker has retained: those that services ignore, and those that belong to nothing."""

import asyncio
import contextlib
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Final

from services.cli.support.fleet_operations import operator
from shared.asyncapi import message_classes
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.receive_queue import Received
from shared.bus.settings import BusSettings
from shared.bus.topic import Topic
from shared.messages.base import Message, MessageError
from shared.messages.devices import ServicePresence
from shared.messages.streams import StreamDeclaration

_QUIET_S: Final = 0.5
_LIMIT_S: Final = 5.0
_EVERYTHING: Final = "#"
_PLANNER_ROLE: Final = "planner"
# Topics whose retained messages devices follow only with the planner's signature.
_SIGNED: Final = (topics.plan, topics.alternatives, topics.manifest, topics.model_version)
# What is checked only where a package is installed.
NEEDED: Final = {"signatures": "cryptography", "policies": "numpy"}


@dataclass(slots=True)
class RetainedMessages:
    """What a broker has retained below a root.

    Attributes:
        root: prefix of every topic.
        messages: by topic, below the root.
    """

    root: str
    messages: dict[str, Received] = field(default_factory=dict)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the topics of messages that are ignored or belong to nothing, each with the reason, in order."""
        keys = self._planner_keys()
        for topic, received in sorted(self.messages.items()):
            reason = _fault(topic, bytes(received.payload)) or self._origin_fault(topic, received, keys)
            if reason:
                yield topic, reason

    def strays(self) -> Iterator[tuple[str, str]]:
        """Yield the topics of well-formed messages of streams that are not declared, each with the reason, in order."""
        declared = {
            found["stream"]
            for topic, received in self.messages.items()
            if (found := _levels(topics.stream, topic)) is not None and _is_declaration(received)
        }
        faulty = {topic for topic, _ in self.faults()}
        for topic in sorted(self.messages.keys() - faulty):
            match topic.split("/"):
                case ["streams", stream, *_] if stream not in declared:
                    yield topic, f"no stream {stream} is declared"

    def _planner_keys(self) -> frozenset[str]:
        keys = set()
        for topic, received in self.messages.items():
            if _levels(topics.service_presence, topic) is None:
                continue
            with contextlib.suppress(MessageError):
                presence = ServicePresence.decode(received.payload)
                if presence.role == _PLANNER_ROLE and presence.public_key is not None:
                    keys.add(presence.public_key)
        return frozenset(keys)

    def _origin_fault(self, topic: str, received: Received, keys: Collection[str]) -> str:
        """Return why a message is not the planner's. A planner of a version without signatures has no key."""
        if not keys or not can_check("signatures") or all(_levels(signed, topic) is None for signed in _SIGNED):
            return ""
        # Not above: a monitor's installation lacks what it needs, and checks everything else.
        from shared.signatures import SignatureError, verified

        try:
            signature = verified(received.user, f"{self.root}/{topic}", bytes(received.payload))
        except SignatureError as error:
            return str(error)
        if signature is None:
            return "the planner has not signed it"
        return "" if signature.key in keys else f"key {signature.key} has signed it, which is no planner's here"


def can_check(subject: str) -> bool:
    """Return whether a subject of `NEEDED` can be checked with what is installed here."""
    return find_spec(NEEDED[subject]) is not None


async def read_retained(settings: BusSettings) -> RetainedMessages:
    """Return everything that a broker has retained below the root.

    Raises:
        BusError: the broker is out of reach, or forbids it.
    """
    found = RetainedMessages(settings.root)
    async with operator(settings) as connection:
        await _collect(connection, found.messages)
    return found


async def _collect(connection: Connection, messages: dict[str, Received]) -> None:
    """Subscribe to everything until no retained message has come for a while."""
    # The embedded broker sends at most 100 retained messages to a subscription of QoS 1.
    await connection.subscribe(_EVERYTHING, 0)
    end_s = time.monotonic() + _LIMIT_S
    quiet_s = time.monotonic() + _QUIET_S
    while (left_s := min(end_s, quiet_s) - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                received = await anext(connection)
        except TimeoutError:
            return
        if received.retain and received.payload:
            messages[received.topic] = received
            quiet_s = time.monotonic() + _QUIET_S


def _fault(topic: str, payload: bytes) -> str:
    for known in topics.ALL_TOPICS:
        levels = _levels(known, topic)
        if levels is None:
            continue
        if not all(map(topics.is_name, levels.values())):
            return "a level of its topic is no name of a device, stream, model or service"
        if not known.retained:
            return f"messages of this topic must not be retained ({known.summary.rstrip('.').lower()})"
        return _payload_fault(known, levels, payload)
    return "Segue has no such topic"


def _payload_fault(topic: Topic[...], levels: Mapping[str, str], payload: bytes) -> str:
    if topic is topics.policy:
        return _policy_fault(payload) if can_check("policies") else ""
    try:
        message = _class_of(topic).decode(payload)
    except MessageError as error:
        return str(error)
    for level, name in levels.items():
        value = getattr(message, level, name)
        if value != name:
            return f"{level} {value!r} is not the topic's"
    return ""


def _policy_fault(payload: bytes) -> str:
    # Not above: it knows the strategies, which compute with numpy.
    from services.planner.problems.policies import PolicyRefusal, parse_policy_request

    request = parse_policy_request(payload)
    return "; ".join(request.reasons) if isinstance(request, PolicyRefusal) else ""


def _is_declaration(received: Received) -> bool:
    try:
        return bool(StreamDeclaration.decode(received.payload).model)
    except MessageError:
        return False


@cache
def _class_of(topic: Topic[...]) -> type[Message]:
    # A retained topic has one class. Several form a union on topics that are not retained.
    (kind,) = (kind for kind in message_classes() if kind.TOPIC is topic)
    return kind


def _levels(topic: Topic[...], text: str) -> dict[str, str] | None:
    """Return the names in a topic by the parameters of its definition; None if it is another topic."""
    found = _pattern(topic).fullmatch(text)
    return None if found is None else found.groupdict()


@cache
def _pattern(topic: Topic[...]) -> re.Pattern[str]:
    escaped = re.escape(topic.template)
    for parameter in topic.parameters:
        escaped = escaped.replace(re.escape(f"{{{parameter}}}"), f"(?P<{parameter}>[^/]*)")
    if topic is topics.replies:
        escaped += "(?:/.*)?"
    return re.compile(escaped, re.DOTALL)


def clearing_command(settings: BusSettings, topic: str) -> str:
    """Return the command that clears a retained message, for a shell.

    Args:
        settings: where the broker is.
        topic: below the root.
    """
    words = ["mosquitto_pub", "-V", "5", "-h", settings.host, "-p", str(settings.port)]
    if settings.username is not None:
        words += ["-u", settings.username, "-P", "PASSWORD"]
    if settings.tls_ca is not None:
        words += ["--cafile", settings.tls_ca]
    words += ["-q", "1", "-r", "-n", "-t", f"{settings.root}/{topic}"]
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word as bash reads it, with escapes for characters that a terminal does not show."""
    if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII):
        return word
    if word.isprintable():
        return "'" + word.replace("'", "'\"'\"'") + "'"
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())
