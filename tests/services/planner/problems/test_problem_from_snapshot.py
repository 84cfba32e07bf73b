"""Problems of one stream, or of several planned together, from a snapshot."""

from dataclasses import replace

import pytest

from planning.problem.problem import Link, Problem
from services.planner.problems.problem_from_snapshot import Circumstances, Exclusion, build_problem, own_problem
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from services.planner.problems.stream_models import DEFAULT_PHOTOGRAPH_BYTES
from shared.messages.devices import LinkEstimate, Links, Profile, State
from shared.messages.streams import StreamUsage
from shared.policy import Objective, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import (
    CAMERAS,
    PI_MS,
    SHARED_MS,
    after,
    cameras,
    declaration,
    link,
    load,
    presence,
    problem_of,
    profile,
    world,
)


def test_the_whole_fleet_becomes_a_problem() -> None:
    problem = problem_of(world(load("server", 2.0), presence("pi", memory_bytes=1000, power_active_w=6.4)))
    model = problem.models[MODEL]
    assert model.input_bytes == DEFAULT_PHOTOGRAPH_BYTES
    assert model.blocks[0].output_bytes == 600_000
    pi, server = problem.devices["pi"], problem.devices["server"]
    assert pi.block_ms == {MODEL: PI_MS}
    assert pi.memory_bytes == 1000
    assert pi.power_active_w == 6.4
    assert (pi.load_factor, server.load_factor) == (1.0, 2.0)
    assert set(problem.links) == {Link("pi", "server", 50.0, 2.0), Link("server", "pi", 50.0, 2.0)}
    assert (problem.streams[0].model, problem.streams[0].source) == (MODEL, "pi")


def test_offline_devices_and_their_links_leave() -> None:
    problem = problem_of(world(presence("server", State.OFFLINE)))
    assert set(problem.devices) == {"pi"}
    assert problem.links == ()


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


def test_memory_of_other_streams_is_subtracted() -> None:
    snapshot = world(presence("server", memory_bytes=5_000_000))
    problem = build_problem(snapshot, ("camera",), Circumstances(100.0, {"server": 4_400_000.0}))
    assert isinstance(problem, Problem)
    assert problem.devices["server"].memory_bytes == 600_000
    problem = build_problem(snapshot, ("camera",), Circumstances(100.0, {"server": 9e9}))
    assert isinstance(problem, Problem)
    assert problem.devices["server"].memory_bytes == 0


def test_other_streams_slow_a_device_down() -> None:
    problem = build_problem(world(load("server", 2.0)), ("camera",), Circumstances(100.0, {}, {"server": 0.5}))
    assert isinstance(problem, Problem)
    assert (problem.devices["server"].load_factor, problem.devices["pi"].load_factor) == (4.0, 1.0)


def exclusion(**fields: object) -> Exclusion:
    known = {"stream": "camera", "device": "server", "model": MODEL, "until_s": 200.0, "reason": "no"}
    return Exclusion(**{**known, **fields})  # type: ignore[arg-type]


def test_rejected_choices_leave_for_a_while() -> None:
    def server(now_s: float, *exclusions: Exclusion) -> object:
        problem = build_problem(world(), ("camera",), Circumstances(now_s, {}, exclusions=exclusions))
        assert isinstance(problem, Problem)
        return problem.devices["server"]

    assert server(100.0, exclusion()).block_ms == {}  # type: ignore[attr-defined]
    assert server(100.0, exclusion(memory_bytes=500.0)).memory_bytes == 499  # type: ignore[attr-defined]
    for other in (exclusion(until_s=100.0), exclusion(stream="other"), exclusion(model="b" * 64)):
        assert server(100.0, other) == server(100.0)


def test_encoding_is_as_much_slower_as_computing() -> None:
    problem = problem_of(world())
    assert problem.devices["server"].codec_speed == 1.0
    assert problem.devices["pi"].codec_speed == pytest.approx(21 / 165)


TOTAL = Policy(objective=Objective.TOTAL_DELAY)


def joint(snapshot: FleetSnapshot, **circumstances: object) -> Problem:
    return build_problem(snapshot, CAMERAS, Circumstances(100.0, {}, **circumstances))  # type: ignore[arg-type]


def test_streams_that_are_planned_together_share_a_problem() -> None:
    problem = joint(after(cameras(TOTAL), PolicySet("east", replace(TOTAL, deadline_ms=200.0, min_gain=0.5))))
    assert set(problem.models) == {MODEL}
    assert set(problem.devices) == {*CAMERAS, "server"}
    assert [stream.name for stream in problem.streams] == list(CAMERAS)
    assert [stream.deadline_ms for stream in problem.streams] == [200.0, None, None]
    assert problem.policy == TOTAL


@pytest.mark.parametrize("stream", CAMERAS)
def test_the_own_problem_is_what_a_stream_alone_would_have(stream: str) -> None:
    sizes = (StreamUsage(stream="north", input_bytes=50_000), StreamUsage(stream="west", input_bytes=200_000))
    snapshot = after(cameras(TOTAL), *sizes)
    assert own_problem(joint(snapshot), stream) == build_problem(snapshot, (stream,), Circumstances(100.0, {}))


def test_requests_of_another_size_make_another_model_and_noise_does_not() -> None:
    snapshot = after(
        cameras(TOTAL),
        StreamUsage(stream="north", input_bytes=100_500),
        StreamUsage(stream="west", input_bytes=200_000),
    )
    problem = joint(snapshot)
    assert [stream.model for stream in problem.streams] == [MODEL, MODEL, f"{MODEL}/west"]
    assert problem.models[f"{MODEL}/west"].input_bytes == 200_000
    assert problem.devices["server"].block_ms.keys() == {MODEL, f"{MODEL}/west"}


def test_a_device_that_rejects_one_stream_still_runs_the_others() -> None:
    problem = joint(cameras(TOTAL), exclusions=[exclusion(stream="north")])
    server = problem.devices["server"]
    assert MODEL in server.block_ms
    assert problem.stream("north").model not in server.block_ms
    assert own_problem(problem, "north").devices["server"].block_ms == {}
    assert own_problem(problem, "east").devices["server"].block_ms == {MODEL: SHARED_MS}


def test_a_lack_of_memory_of_one_stream_bounds_all() -> None:
    rejected = exclusion(stream="north", memory_bytes=500.0)
    held = {"east": {"server": 300.0}, "north": {"server": 400.0}}
    problem = joint(cameras(TOTAL), exclusions=[rejected], members_bytes=held)
    assert problem.devices["server"].memory_bytes == 499 + 300


def test_several_models_are_as_fast_as_they_are_on_average() -> None:
    other = manifest_of("b" * 64, "other")
    twice = tuple(2 * each for each in SHARED_MS)
    snapshot = after(
        cameras(TOTAL),
        other,
        Profile(device="server", model=other.model, block_ms=twice, segment_overhead_ms=2.0),
        Profile(device="west", model=other.model, block_ms=twice, segment_overhead_ms=0.0),
        declaration("west", source="west", model="other"),
    )
    problem = joint(snapshot)
    assert problem.devices["server"].block_ms == {MODEL: SHARED_MS, other.model: twice}
    assert problem.devices["server"].segment_overhead_ms == 1.0
    assert problem.devices["east"].block_ms == {MODEL: PI_MS}
    assert problem.devices["west"].codec_speed == pytest.approx((100 / 165 + 1) / 2)
