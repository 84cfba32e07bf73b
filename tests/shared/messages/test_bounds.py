"""Every field of every message has bounds, and hostile values of it are refused by one named error."""

import contextlib
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.asyncapi import message_classes
from shared.messages.base import Message, MessageError, Part
from shared.messages.bounds import MAX_BLOCKS, clean_text
from shared.messages.streams import CommittedPlan, PlanRoute
from tests.support.hostile_messages import hostile_documents
from tests.support.message_strategies import messages

CLASSES = [kind for kind in message_classes() if kind.TOPIC is not None]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_has_bounds(kind: type[Message]) -> None:
    schema = TypeAdapter(kind).json_schema()
    definitions = schema.pop("$defs", {})
    assert list(itertools.chain.from_iterable(_unbounded(part, name) for name, part in definitions.items())) == []
    assert list(_unbounded(schema, kind.__name__)) == []


def _unbounded(schema: dict[str, Any], place: str) -> Iterator[str]:
    """Yield the places of a JSON Schema whose values have no bound."""
    for key in ("anyOf", "oneOf", "allOf"):
        for index, part in enumerate(schema.get(key, ())):
            yield from _unbounded(part, f"{place}.{key}[{index}]")
    for name, part in schema.get("properties", {}).items():
        yield from _unbounded(part, f"{place}.{name}")
    if "enum" in schema or "const" in schema:
        return
    match schema.get("type"):
        case "string" if "maxLength" not in schema and not _is_bounded_pattern(schema.get("pattern", "")):
            yield place
        case "integer" | "number":
            lowest = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
            highest = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                yield place
        case "array":
            if "maxItems" not in schema:
                yield place
            yield from _unbounded(schema.get("items", {}), f"{place}[]")
        case "object" if "properties" not in schema and "maxProperties" not in schema:
            yield place


def _is_bounded_pattern(pattern: str) -> bool:
    return pattern.startswith("^") and pattern.endswith("$") and not set(pattern) & {"*", "|"} and "+$" not in pattern


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_hostile_value_in_any_field_decodes_within_bounds_or_raises_one_named_error(kind: type[Message]) -> None:
    @settings(max_examples=1, derandomize=True)
    @given(messages(kind))
    def check(message: Message) -> None:
        refused = 0
        for document in hostile_documents(message):
            refused += _is_refused(kind, document)
        assert refused > 0

    check()


@settings(max_examples=60)
@given(st.data())
def test_several_hostile_values_at_once(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(CLASSES))
    message = data.draw(messages(kind))
    documents = list(itertools.islice(hostile_documents(message), 400))
    merged: dict[str, Any] = {}
    for document in data.draw(st.lists(st.sampled_from(documents), min_size=1, max_size=4)):
        merged |= document
    _is_refused(kind, merged)


def _is_refused(kind: type[Message], document: dict[str, Any]) -> bool:
    """Return whether a document is refused; check that what it decodes to can be encoded and decoded again."""
    return any([_is_payload_refused(kind, payload) for payload in _payloads(document)])


def _payloads(document: dict[str, Any]) -> Iterator[bytes]:
    """Yield the document in msgpack and in JSON, as far as the format has such values."""
    with contextlib.suppress(ValueError, OverflowError):
        yield msgpack.packb(document)
    with contextlib.suppress(ValueError, TypeError):
        yield json.dumps(document).encode()


def _is_payload_refused(kind: type[Message], payload: bytes) -> bool:
    try:
        message = kind.decode(payload)
    except MessageError as error:
        fault = str(error)
    else:
        assert kind.decode(message.encode()) == message
        assert kind.decode(message.encode_json()) == message
        return False
    assert len(fault) <= 600
    assert fault.isprintable()
    return True


def _route(*cuts: int) -> dict[str, Any]:
    stages = [{"start": start, "stop": stop, "device": "pi"} for start, stop in itertools.pairwise(cuts)]
    return {"stages": stages}


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ([], "at least 1 item"),
        ([{"stages": []}], "at least 1 item"),
        ([_route(3, 1)], "where block 0 comes next"),
        ([_route(0, 3, 1)], "where block 3 comes next"),
        ([_route(0, 1, 1)], "where block 1 comes next"),
        ([_route(0, MAX_BLOCKS + 1)], "less than or equal to 10000"),
        ([_route(*range(300))], "at most 256 items"),
        ([_route(0, 2), _route(0, 3)], "end after different blocks: 2 and 3"),
        ([_route(0, 2)] * 5000, "at most 4096 items"),
    ],
)
def test_a_plan_that_no_model_can_have_is_refused(routes: list[dict[str, Any]], reason: str) -> None:
    plan = {"stream": "s", "epoch": 1, "model": "0" * 64, "source": "pi", "strategy": "x", "routes": routes}
    with pytest.raises(MessageError, match=reason):
        CommittedPlan.decode(msgpack.packb(plan))


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch", 2**63 - 1), ("epoch", -1), ("committed_at_s", 1e12), ("committed_at_s", -1.0), ("deadline_ms", 1e308)],
)
def test_epochs_and_times_out_of_reach_are_refused(field: str, value: float) -> None:
    plan = {"stream": "s", "epoch": 1, "model": "0" * 64, "source": "pi", "strategy": "x", "routes": [_route(0, 2)]}
    CommittedPlan.decode(msgpack.packb(plan))
    with pytest.raises(MessageError, match=f"{field}: "):
        CommittedPlan.decode(msgpack.packb({**plan, field: value}))


def test_clean_text_is_idempotent_and_keeps_letters_of_any_script() -> None:
    assert clean_text("größer 大きい 😍") == "größer 大きい 😍"
    assert clean_text(clean_text("a\x00b\ud800c" * 2000)) == clean_text("a\x00b\ud800c" * 2000)


def test_a_part_is_bounded_wherever_it_is_used() -> None:
    assert issubclass(PlanRoute, Part)
    with pytest.raises(ValueError, match="comes next"):
        PlanRoute.model_validate(_route(2, 4))
