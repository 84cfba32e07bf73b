"""Messages on disk: what was written once is read for ever, and the newest example of a class is written the same.

A class that got a field has a further example, `Manifest-2` after `Manifest`. The bytes of examples never change.
"""

import json
from pathlib import Path

import pytest

from shared.asyncapi import message_classes
from shared.messages.base import Message
from tests.support.shared_paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "messages"
CLASSES = {kind.__name__: kind for kind in message_classes() if kind.TOPIC is not None}


def examples(kind: str) -> list[str]:
    """Return the names of a class's examples, the newest last."""
    found = {path.stem for path in GOLDEN.iterdir() if path.stem.partition("-")[0] == kind}
    return sorted(found, key=lambda name: int(name.partition("-")[2] or 1))


def read(name: str, folder: Path = GOLDEN) -> tuple[bytes, Message]:
    """Return an example's bytes, and the message that its JSON describes."""
    kind: type[Message] = CLASSES[name.partition("-")[0]]
    described = json.loads((folder / f"{name}.json").read_text())
    return bytes.fromhex((folder / f"{name}.hex").read_text()), kind.decode(json.dumps(described).encode())


@pytest.mark.parametrize("name", [name for kind in sorted(CLASSES) for name in examples(kind)])
def test_an_example_is_read_as_what_it_was(name: str) -> None:
    written, message = read(name)
    assert type(message).decode(written) == message


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_the_newest_example_is_written_the_same(kind: str) -> None:
    written, message = read(examples(kind)[-1])
    assert message.encode() == written


def test_every_golden_file_belongs_to_a_message() -> None:
    assert {path.stem.partition("-")[0] for path in GOLDEN.iterdir()} == set(CLASSES)
