"""Policy documents: read, or refused with every reason."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_world import world

from services.planner.policies import PolicyRequest, Refusal, parse_request, read_request, request_document
from shared.plan.policy import DeviceRule, Policy, QueueDiscipline

NAMES = ("auto", "shortest_path")


def read(document: object) -> PolicyRequest | Refusal:
    return read_request(json.dumps(document).encode(), "camera", world(), NAMES)


def reasons(document: object) -> tuple[str, ...]:
    refused = read(document)
    assert isinstance(refused, Refusal)
    return refused.reasons


def test_a_sound_policy_is_taken_with_its_revision() -> None:
    document = {"revision": 12, "min_gain": 0.2, "devices": {"allow": ["pi"]}, "queue": "round_robin"}
    expected = Policy(min_gain=0.2, devices=DeviceRule(allow=("pi",)), queue=QueueDiscipline.ROUND_ROBIN)
    assert read(document) == PolicyRequest("12", expected)
    packed = msgpack.packb(document)
    assert read_request(packed, "camera", world(), NAMES) == PolicyRequest("12", expected)
    assert read({}) == PolicyRequest("", Policy())


def test_every_fault_is_named() -> None:
    found = reasons({"colour": 1, "min_gain": 7, "max_devices": 0, "devices": {"alow": []}})
    for place in ("colour", "min_gain", "max_devices", "devices.alow"):
        assert any(reason.startswith(place) for reason in found), (place, found)
    assert any(reason == "colour: no policy has such a field" for reason in found)


def test_every_contradiction_is_named() -> None:
    found = reasons(
        {
            "strategy": "magic",
            "devices": {"allow": ["server", "moon"], "deny": ["server"]},
            "raw_input_stays_on_source": True,
        }
    )
    assert found == (
        "strategy: there is no 'magic'; known are auto, shortest_path",
        "devices: server is allowed and denied",
        "devices.allow: there is no device 'moon'; known are pi, server",
        "raw_input_stays_on_source: the source pi is not allowed to compute",
    )
    assert reasons({"devices": {"allow": []}}) == ("devices.allow: the empty list allows no device",)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"nonsense", "neither JSON nor msgpack"),
        (b"[1, 2]", "neither JSON nor msgpack"),
        (b"{", "neither JSON nor msgpack"),
        (b"\x05", "a policy is a map, not int"),
        (b"{" + b" " * 70_000, "more than a policy may have"),
        (msgpack.packb({"strategy": b"\xff"}), "holds what JSON cannot say"),
        (msgpack.packb({1: 2}), "neither JSON nor msgpack"),
    ],
)
def test_what_is_no_policy_is_refused(payload: bytes, reason: str) -> None:
    refused = read_request(payload, "camera", world(), NAMES)
    assert isinstance(refused, Refusal) and reason in refused.reasons[0]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    answer = read_request(payload, "camera", world(), NAMES)
    assert isinstance(answer, PolicyRequest) or answer.reasons


def test_the_document_that_is_kept_reads_the_same() -> None:
    for request in (PolicyRequest("r", Policy(retry_limit=9)), PolicyRequest("", Policy())):
        assert parse_request(request_document(request)) == request
