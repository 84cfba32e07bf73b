"""Hostile documents, generated from a message: one bad value at every place in it, and values that are nearly good."""

from collections.abc import Iterator
from typing import Any, Final

from shared.messages.base import Message

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
