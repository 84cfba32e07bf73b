import json

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.policy import DeviceRule, Objective, Policy, policy_document, policy_schema, read_policy


def test_round_trip_and_defaults() -> None:
    policy = Policy(objective=Objective.ENERGY, devices=DeviceRule(allow=("a",)), max_devices=2)
    assert read_policy(json.dumps(policy_document(policy))) == policy
    assert read_policy("{}") == Policy()


def test_embeds_in_messages() -> None:
    values = {"objective": "throughput", "devices": {"deny": ["a"]}, "min_gain": 0}
    assert TypeAdapter(Policy).validate_python(values) == Policy(
        objective=Objective.THROUGHPUT, devices=DeviceRule(deny=("a",)), min_gain=0
    )


@pytest.mark.parametrize(
    "values",
    [
        {"colour": 1},
        {"deadline_ms": 0},
        {"max_devices": 0},
        {"min_gain": 2},
        {"codec": "a b"},
        {"min_top1_agreement": 1.1},
        {"devices": {"x": 1}},
    ],
)
def test_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        read_policy(json.dumps(values))


def test_rule() -> None:
    rule = DeviceRule(allow=("a", "b"), deny=("b",))
    assert [rule.permits(name) for name in "abc"] == [True, False, False]


def test_schema_forbids_unknown_keys() -> None:
    assert policy_schema()["additionalProperties"] is False
