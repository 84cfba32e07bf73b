"""Policy documents, read or refused with every reason."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.problems.policies import (
    PolicyRefusal,
    PolicyRequest,
    parse_policy_request,
    read_request,
    request_document,
)
from services.planner.problems.snapshot import FleetSnapshot, apply
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.streams import StreamDeclaration
from shared.policy import DeviceRule, Policy, QueueDiscipline
from tests.support.planner_world import world

NAMES = ("auto", "shortest_path")


def read(document: object) -> PolicyRequest | PolicyRefusal:
    return read_request(json.dumps(document).encode(), "camera", world(), NAMES)


def reasons(document: object) -> tuple[str, ...]:
    refused = read(document)
    assert isinstance(refused, PolicyRefusal)
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
    assert reasons({"devices": {"allow": []}}) == (
        "devices.allow: the empty list allows no device; name some, or leave it out to allow all",
    )
    assert reasons({"devices": {"deny": ["pi", "server"]}}) == (
        "devices.deny: every device of the fleet is denied, so none may compute; take one out of it: pi, server",
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"nonsense", "neither JSON nor msgpack"),
        (b"[1, 2]", "neither JSON nor msgpack"),
        (b"{", "neither JSON nor msgpack"),
        (b"\x05", "a policy is a map, not int"),
        (b"{" + b" " * 70_000, "more than a policy may have"),
        (msgpack.packb({"strategy": b"\xff"}), "has a value that JSON cannot express"),
        (msgpack.packb({1: 2}), "neither JSON nor msgpack"),
    ],
)
def test_what_is_no_policy_is_refused(payload: bytes, reason: str) -> None:
    refused = read_request(payload, "camera", world(), NAMES)
    assert isinstance(refused, PolicyRefusal)
    assert reason in refused.reasons[0]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    answer = read_request(payload, "camera", world(), NAMES)
    assert isinstance(answer, PolicyRequest) or answer.reasons


def test_the_document_that_is_kept_reads_the_same() -> None:
    for request in (PolicyRequest("r", Policy(retry_limit=9)), PolicyRequest("", Policy())):
        assert parse_policy_request(request_document(request)) == request


def calibrated(*codecs: str) -> FleetSnapshot:
    measured = tuple(CodecCalibration(codec=name, size_bytes=1, worst_size_bytes=1) for name in codecs)
    blocks = (BlockCalibration(block=0, raw_bytes=4, codecs=measured),)
    snapshot = FleetSnapshot(streams={"s": StreamDeclaration(stream="s", model="net", source="pi")})
    manifest = Manifest(
        model="a" * 64,
        name="net",
        size_bytes=1,
        inputs=(),
        outputs=(),
        blocks=(ManifestBlock(name="b", output_bytes=1),),
    )
    snapshot = apply(snapshot, manifest, 0.0)
    return apply(snapshot, Calibration(model="a" * 64, blocks=blocks, samples=1), 0.0) if codecs else snapshot


@pytest.mark.parametrize(
    ("codec", "measured", "reason"),
    [
        ("uint8", ("uint8+zstd",), None),
        ("uint8+zstd", ("uint8+zstd",), None),
        ("lossless", (), None),
        ("auto", (), None),
        ("int8", ("sparse8+zstd",), None),
        ("uint4", ("raw", "uint8"), "codec: net is not offered as 'uint4'; there are raw, uint8"),
        ("uint8", (), "codec: the encodings of net are not measured; `segue model calibrate` does that"),
    ],
)
def test_a_demanded_encoding_has_to_be_offered(codec: str, measured: tuple[str, ...], reason: str | None) -> None:
    answer = read_request(json.dumps({"codec": codec}).encode(), "s", calibrated(*measured), ("auto",))
    assert getattr(answer, "reasons", None) == (None if reason is None else (reason,))
