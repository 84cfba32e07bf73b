"""Messages on disk, checked both ways: what was written once is read and written the same for ever."""

import json

import pytest

from shared.asyncapi import message_classes
from shared.messages.base import Message
from tests.support.shared_paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = GOLDEN_FOLDER / "messages"
CLASSES = {kind.__name__: kind for kind in message_classes() if kind.TOPIC is not None}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_golden(name: str) -> None:
    kind: type[Message] = CLASSES[name]
    written = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    described = json.loads((GOLDEN / f"{name}.json").read_text())
    message = kind.decode(json.dumps(described).encode())
    assert kind.decode(written) == message
    assert message.encode() == written


def test_every_golden_file_belongs_to_a_message() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CLASSES)
