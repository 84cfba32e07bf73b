"""From a snapshot to a problem, or to what is missing."""

from collections.abc import Mapping

import pytest
from planner_fleet import MODEL, manifest_of
from planner_world import PI_MS, after, declaration, link, load, presence, problem_of, profile, world

from services.planner.problem import (
    DEFAULT_PHOTOGRAPH_BYTES,
    Circumstances,
    Exclusion,
    Waiting,
    build_problem,
)
from services.planner.snapshot import PolicySet, Snapshot
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.devices import LinkEstimate, Links, State
from shared.messages.models import Preprocessing
from shared.messages.streams import StreamUsage
from shared.plan.policy import DeviceRule, Policy
from shared.plan.problem import CodecProfile, Link, Problem

NOW = Circumstances(100.0, {})


def waiting(snapshot: Snapshot, circumstances: Circumstances = NOW) -> str:
    found = build_problem(snapshot, "camera", circumstances)
    assert isinstance(found, Waiting)
    return "; ".join(found.reasons)


def test_the_whole_fleet_becomes_a_problem() -> None:
    problem = problem_of(world(load("server", 2.0), presence("pi", memory_bytes=1000, power_active_w=6.4)))
    model = problem.models[MODEL]
    assert model.input_bytes == DEFAULT_PHOTOGRAPH_BYTES and model.blocks[0].output_bytes == 600_000
    pi, server = problem.devices["pi"], problem.devices["server"]
    assert pi.block_ms == {MODEL: PI_MS} and pi.memory_bytes == 1000 and pi.power_active_w == 6.4
    assert (pi.load_factor, server.load_factor) == (1.0, 2.0)
    assert set(problem.links) == {Link("pi", "server", 50.0, 2.0), Link("server", "pi", 50.0, 2.0)}
    assert (problem.streams[0].model, problem.streams[0].source) == (MODEL, "pi")


def test_the_size_of_a_request_is_what_the_source_sees() -> None:
    assert problem_of(world(StreamUsage(stream="camera", input_bytes=23_456))).models[MODEL].input_bytes == 23_456


def test_a_tensor_is_sent_as_it_is() -> None:
    manifest = manifest_of().model_copy(update={"preprocessing": Preprocessing()})
    assert problem_of(world(manifest)).models[MODEL].input_bytes == 4 * 3 * 224 * 224


def test_offline_devices_and_their_links_leave() -> None:
    problem = problem_of(world(presence("server", State.OFFLINE)))
    assert set(problem.devices) == {"pi"} and problem.links == ()


def test_a_device_without_a_profile_stays_as_a_node() -> None:
    problem = problem_of(world(presence("new")))
    assert problem.devices["new"].block_ms == {}
    assert problem_of(world(profile("server", (1.0,)))).devices["server"].block_ms == {}


def test_a_link_that_is_dead_one_way_is_no_link() -> None:
    assert problem_of(world(link("pi", "server", 0.0))).links == ()
    two = Links(
        device="pi",
        sent_at_s=1.0,
        links=tuple(LinkEstimate(target=each, bandwidth_mbps=5.0, latency_ms=1.0) for each in ("pi", "moon")),
    )
    assert problem_of(world(two)).links == (Link("server", "pi", 50.0, 2.0),)


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (world(presence("pi", State.OFFLINE)), "source device pi is offline"),
        (world(declaration(source="moon")), "source device moon is unknown"),
        (world(declaration(model="other")), "model other is not in the library"),
        (
            world(profile("pi", (1.0,)), presence("server", State.OFFLINE)),
            "no device can run model net yet (pi: its profile has 1 blocks, the model 5; server: offline)",
        ),
        (
            world(PolicySet("camera", Policy(devices=DeviceRule(allow=("moon",))))),
            "no device can run model net yet (the policy allows none)",
        ),
    ],
)
def test_what_is_missing_is_said(snapshot: Snapshot, reason: str) -> None:
    assert waiting(snapshot) == reason


def test_a_first_plan_waits_for_devices_that_measure() -> None:
    snapshot = world(presence("jetson"))
    assert waiting(snapshot, Circumstances(100.0, {}, measuring=["jetson"])) == "device jetson is measuring model net"
    denied = after(snapshot, PolicySet("camera", Policy(devices=DeviceRule(deny=("jetson",)))))
    assert isinstance(build_problem(denied, "camera", Circumstances(100.0, {}, measuring=["jetson"])), Problem)


def test_memory_of_other_streams_is_subtracted() -> None:
    snapshot = world(presence("server", memory_bytes=5_000_000))
    problem = build_problem(snapshot, "camera", Circumstances(100.0, {"server": 4_400_000.0}))
    assert isinstance(problem, Problem) and problem.devices["server"].memory_bytes == 600_000
    problem = build_problem(snapshot, "camera", Circumstances(100.0, {"server": 9e9}))
    assert isinstance(problem, Problem) and problem.devices["server"].memory_bytes == 0


def test_other_streams_slow_a_device_down() -> None:
    problem = build_problem(world(load("server", 2.0)), "camera", Circumstances(100.0, {}, {"server": 0.5}))
    assert isinstance(problem, Problem)
    assert (problem.devices["server"].load_factor, problem.devices["pi"].load_factor) == (4.0, 1.0)


def exclusion(**fields: object) -> Exclusion:
    known = {"stream": "camera", "device": "server", "model": MODEL, "until_s": 200.0, "reason": "no"}
    return Exclusion(**{**known, **fields})  # type: ignore[arg-type]


def test_rejected_choices_leave_for_a_while() -> None:
    def server(now_s: float, *exclusions: Exclusion) -> object:
        problem = build_problem(world(), "camera", Circumstances(now_s, {}, exclusions=exclusions))
        assert isinstance(problem, Problem)
        return problem.devices["server"]

    assert server(100.0, exclusion()).block_ms == {}  # type: ignore[attr-defined]
    assert server(100.0, exclusion(memory_bytes=500.0)).memory_bytes == 499  # type: ignore[attr-defined]
    for other in (exclusion(until_s=100.0), exclusion(stream="other"), exclusion(model="b" * 64)):
        assert server(100.0, other) == server(100.0)


def calibration() -> Calibration:
    def codec(name: str, error: float) -> CodecCalibration:
        return CodecCalibration(
            codec=name, size_bytes=10, worst_size_bytes=20, encode_ms=1.0, decode_ms=2.0, max_relative_error=error
        )

    codecs = (codec("raw", 0.0), codec("float16", 0.001), codec("uint4", 0.2))
    return Calibration(model=MODEL, blocks=(BlockCalibration(block=1, raw_bytes=100, codecs=codecs),), samples=3)


def test_encodings_come_from_the_calibration_within_the_bound() -> None:
    def codecs(policy: Policy, found: Calibration) -> Mapping[str, CodecProfile]:
        return problem_of(world(found, PolicySet("camera", policy))).models[MODEL].blocks[1].codecs

    free = codecs(Policy(), calibration())
    assert set(free) == {"float16"}
    profile = free["float16"]
    assert (profile.size_bytes, profile.encode_ms, profile.decode_ms, profile.relative_error) == (10, 1.0, 2.0, 0.001)
    assert set(codecs(Policy(max_relative_error=0.5), calibration())) == {"float16", "uint4"}
    agreeing = calibration().blocks[0].codecs[2].model_copy(update={"top1_agreement": 0.995})
    block = BlockCalibration(block=1, raw_bytes=100, codecs=(agreeing,))
    assert set(codecs(Policy(), Calibration(model=MODEL, blocks=(block,), samples=3))) == {"uint4"}


def test_encoding_is_as_much_slower_as_computing() -> None:
    problem = problem_of(world(calibration()))
    assert problem.devices["server"].codec_speed == 1.0
    assert problem.devices["pi"].codec_speed == pytest.approx(21 / 165)
