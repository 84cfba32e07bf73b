"""The AsyncAPI document on disk is the one that the message classes make, and it describes what is really sent."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.asyncapi import CHANNELS, bus_document
from shared.bus import topics
from shared.bus.settings import DEFAULT_ROOT, BusSettings
from tests.support.shared_paths import REPOSITORY

DOCUMENT = bus_document()
GOLDEN = REPOSITORY / "tests" / "golden" / "messages"


def test_the_document_on_disk_is_current() -> None:
    written = json.loads((REPOSITORY / "docs" / "asyncapi.json").read_text())
    assert written == DOCUMENT, "run: make docs"


def test_every_reference_leads_somewhere() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = DOCUMENT
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(DOCUMENT)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_messages_obey_their_schema(path: Path) -> None:
    validator = Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{path.stem}"})
    assert list(validator.iter_errors(json.loads(path.read_text()))) == []


def test_every_topic_is_described() -> None:
    described = {channel["address"].removeprefix(f"{DEFAULT_ROOT}/") for channel in DOCUMENT["channels"].values()}
    filters = [value for name, value in vars(topics).items() if name.startswith("ANY_") or value in (topics.EVENTS,)]
    for wanted in filters:
        pattern = wanted.split("/")
        assert any(_matches(pattern, address.split("/")) for address in described), wanted


def _matches(pattern: list[str], address: list[str]) -> bool:
    return len(pattern) == len(address) and all(
        left == right or (left == "+" and right.startswith("{")) for left, right in zip(pattern, address, strict=True)
    )


def test_the_root_is_the_default_of_every_client() -> None:
    root = BusSettings.from_address("mqtt://localhost").root
    assert {channel["address"].startswith(f"{root}/") for channel in DOCUMENT["channels"].values()} == {True}


def test_channels_have_names_of_their_own() -> None:
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS)
