"""The AsyncAPI document is current and complete, and the golden messages obey it."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.asyncapi import bus_document, message_classes, messages_on
from shared.bus import topics
from shared.bus.settings import DEFAULT_ROOT, BusSettings
from tests.support.shared_paths import REPOSITORY

DOCUMENT = bus_document()
GOLDEN = REPOSITORY / "tests" / "golden" / "messages"


def references(node: Any) -> set[str]:
    """Return all references below a node of the document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def target(reference: str) -> Any:
    """Return the node that a reference leads to."""
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_the_document_on_disk_is_current() -> None:
    written = json.loads((REPOSITORY / "docs" / "asyncapi.json").read_text())
    assert written == DOCUMENT, "run: make docs"


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        assert isinstance(target(reference), dict)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_messages_obey_their_schema(path: Path) -> None:
    validator = Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{path.stem.partition('-')[0]}"})
    assert list(validator.iter_errors(json.loads(path.read_text()))) == []


def test_every_topic_is_described_with_its_messages() -> None:
    described = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert set(described) == {f"{DEFAULT_ROOT}/{topic.template}" for topic in topics.ALL_TOPICS}
    assert len(described) == len(DOCUMENT["channels"])
    assert all(channel["messages"] for channel in described.values())


def test_every_message_class_is_reachable_from_a_channel() -> None:
    reached: set[str] = set()
    unseen = references(DOCUMENT["channels"])
    while unseen:
        reached |= unseen
        unseen = set().union(*(references(target(reference)) for reference in unseen)) - reached
    for kind in message_classes():
        assert f"#/components/schemas/{kind.__name__}" in reached, kind


def test_messages_of_one_topic_are_told_apart_by_their_kind() -> None:
    for topic in topics.ALL_TOPICS:
        kinds = messages_on(topic)
        if len(kinds) > 1:
            assert len({kind.model_fields["kind"].default for kind in kinds}) == len(kinds)


def test_quality_of_service_and_retention_are_the_topic_s() -> None:
    channel = DOCUMENT["channels"]["servicePresence"]
    assert channel["address"] == f"{DEFAULT_ROOT}/services/{{name}}/presence"
    assert channel["x-mqtt"] == {"qos": topics.service_presence.qos, "retain": True}
    assert list(channel["parameters"]) == ["name"]
    assert "parameters" not in DOCUMENT["channels"]["events"]


def test_the_root_is_the_default_of_every_client() -> None:
    root = BusSettings.from_address("mqtt://localhost").root
    assert {channel["address"].startswith(f"{root}/") for channel in DOCUMENT["channels"].values()} == {True}
