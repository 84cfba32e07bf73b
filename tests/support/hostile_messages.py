"""Hostile messages of every class: one bad value at every place of a good message, and values that are nearly good."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from shared.asyncapi import message_classes
from shared.bus import topics
from shared.bus.topic import Topic
from shared.messages.base import Message, MessageError
from tests.support.shared_paths import GOLDEN

# Of every kind that msgpack or JSON can carry.
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    -0.0,
    5e-324,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "a",
    "../../etc/passwd",
    "$SYS/x",
    "a/+/#",
    "a\x00b",
    "a\ud800b",
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "\ufeffx",
    "😍" * 100,
    "9" * 5000,
    "1e999",
    "x" * 70_000,
    b"",
    b"\xff\xfe\x00",
    bytes(70_000),
    [],
    [None],
    [[[]]],
    [None] * 20_000,
    {},
    {"a": 1},
    {"start": 3, "stop": 1, "device": "pi"},
)


@dataclass(frozen=True, slots=True)
class HostileMessage:
    """A message that every reader must refuse, with the retain flag of its topic."""

    topic: str
    payload: bytes
    retain: bool


def names_in_topics(model: str, *, stream: str, source: str, device: str) -> Mapping[str, str]:
    """Return the values of the variable levels of topics, by name, so that messages concern a running fleet."""
    return {
        "device": device,
        "stream": stream,
        "model": model,
        "name": "collector",
        "provider": "planner",
        "receiver": source,
        "asker": "somebody",
        "version": "1",
    }


def hostile_messages(names: Mapping[str, str], per_class: int) -> Iterator[HostileMessage]:
    """Yield messages for every topic, about `per_class` of each class.

    Args:
        names: `names_in_topics`.
        per_class: documents of each message class.
    """
    for kind in message_classes():
        if kind.TOPIC in (None, topics.inbox, topics.outputs):
            continue
        message = kind.decode((GOLDEN / "messages" / f"{kind.__name__}.json").read_bytes())
        known = {name: names[name] for name in names if isinstance(getattr(message, name, None), str)}
        documents = _refused(kind, hostile_documents(message.model_copy(update=known)))
        # Spread over all fields, not the first ones.
        chosen = documents[:: max(1, len(documents) // per_class)][:per_class]
        topic = _topic_of(kind.TOPIC, names)
        yield from (HostileMessage(topic, payload, kind.TOPIC.retained) for payload in chosen)
        if kind.TOPIC.retained:
            yield HostileMessage(topic, b"\xff garbage", True)
    for payload in (b"\xff garbage", json.dumps({"objective": ["x"] * 1000}).encode()):
        yield HostileMessage(topics.policy(names["stream"]), payload, True)


def _refused(kind: type[Message], documents: Iterator[dict[str, Any]]) -> list[bytes]:
    """Return the payloads of the documents that are refused.

    Others are forgeries that only the broker's accounts prevent, such as a declaration with another source.
    """
    payloads = []
    for document in documents:
        try:
            payload = msgpack.packb(document)
            kind.decode(payload)
        except MessageError:
            payloads.append(payload)
        except (ValueError, OverflowError):
            continue
    return payloads


def _topic_of(topic: Topic[...], names: Mapping[str, str]) -> str:
    return topic(*(names[parameter] for parameter in topic.parameters))


def hostile_documents(message: Message) -> Iterator[dict[str, Any]]:
    """Yield documents of a message's class, each with one hostile value in the place of a good one.

    Places are the fields of the message, of the parts in it, and the elements of its lists.
    """
    document = message.model_dump(mode="python")
    for path in _paths(document):
        for value in VALUES:
            yield _replaced(document, path, value)
        yield _replaced(document, path, _repeated(document, path))
    yield {}


def _paths(document: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if prefix:
        yield prefix
    match document:
        case dict():
            for key, value in document.items():
                yield from _paths(value, (*prefix, key))
        case list() | tuple():
            # Elements are alike: the first stands for all.
            for value in document[:1]:
                yield from _paths(value, (*prefix, 0))


def _replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    if isinstance(document, dict):
        return {**document, key: _replaced(document[key], tuple(rest), value)}
    assert isinstance(key, int)
    return [*document[:key], _replaced(document[key], tuple(rest), value), *document[key + 1 :]]


def _repeated(document: Any, path: tuple[str | int, ...]) -> list[Any]:
    """Return a list of very many copies of the value at a place."""
    for key in path:
        document = document[key]
    return (list(document) if isinstance(document, list | tuple) and document else [document]) * 10_001
