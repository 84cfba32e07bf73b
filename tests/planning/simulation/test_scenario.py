"""Loads and bandwidths that change during a run: cases computed by hand, and laws that hold for any plan."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Route, Stage, StreamPlan, Tile, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.queueing.event_loop import RateChange, Rules
from planning.queueing.operations import Work
from planning.simulation.arrivals import Poisson
from planning.simulation.scenario import BandwidthChange, Change, LoadChange, UnknownPlaceError, rate_changes
from planning.simulation.simulation import Timeline, simulate
from shared.policy import QueueDiscipline
from tests.support.shared_paths import INSTANCES

PROBLEM = Problem(
    {"m": Model(8000, (Block("x", 8000), Block("y", 1000)))},
    {"a": Device({"m": (10.0, 20.0)}, load_factor=2.0), "b": Device({"m": (5.0, 6.0)})},
    (Link("a", "b", 8.0, 1.0),),
    (Stream("s", "m", "a"),),
)
SPLIT = {"s": StreamPlan((sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]),))}
"""Computes from 0 to 20 on a, has a latency until 21, sends until 29, computes until 35 on b."""


def _ends(*changes: Change, requests: int = 1) -> list[float]:
    return [request.end_ms for request in simulate(PROBLEM, SPLIT, changes=changes, requests=requests).requests]


def test_without_changes_the_request_takes_its_latency() -> None:
    assert _ends() == [35]
    assert _ends(LoadChange(5, "a", 2.0), BandwidthChange(22, "a", "b", 8.0)) == [35]


@pytest.mark.parametrize(
    ("at_ms", "bandwidth_mbps", "end_ms"),
    [
        (25, 4.0, 25 + 2 * 4 + 6),  # half of it is sent
        (21, 4.0, 21 + 2 * 8 + 6),  # the latency is over
        (20.5, 4.0, 21 + 2 * 8 + 6),  # half of the latency is over, which stays as it is
        (10, 4.0, 21 + 2 * 8 + 6),  # before it starts
        (25, 16.0, 25 + 2 + 6),
        (29, 1.0, 35),  # it has just ended
        (30, 1.0, 35),
    ],
)
def test_a_transfer_goes_on_at_the_new_bandwidth(at_ms: float, bandwidth_mbps: float, end_ms: float) -> None:
    assert _ends(BandwidthChange(at_ms, "a", "b", bandwidth_mbps)) == pytest.approx([end_ms])


def test_computing_goes_on_under_the_new_load() -> None:
    assert _ends(LoadChange(5, "a", 6.0)) == [5 + 15 * 3 + 15]
    assert _ends(LoadChange(5, "a", 6.0), LoadChange(20, "a", 1.0)) == [20 + 10 / 2 + 15]
    assert _ends(LoadChange(30, "b", 2.0)) == [30 + 2 * 5]
    # The second request is computed by b meanwhile, and the first one waits for nothing.
    assert _ends(LoadChange(30, "b", 4.0), requests=2) == [50, 50 + 24]


def test_changes_of_one_instant_take_effect_in_their_order() -> None:
    assert _ends(LoadChange(5, "a", 9.0), LoadChange(5, "a", 2.0)) == [35]
    assert _ends(LoadChange(7, "a", 2.0), LoadChange(5, "a", 4.0)) == [7 + (20 - 5 - 1) + 15]


@pytest.mark.parametrize(
    "gone", [LoadChange(25, "a", None), LoadChange(25, "b", None), BandwidthChange(25, "a", "b", None)]
)
def test_what_is_gone_stands_still_until_it_is_back(gone: Change) -> None:
    back: Change
    if isinstance(gone, LoadChange):
        back = LoadChange(125, gone.device, PROBLEM.devices[gone.device].load_factor)
    else:
        back = replace(gone, at_ms=125, bandwidth_mbps=8.0)
    assert _ends(gone, back) == pytest.approx([135])
    assert _ends(gone) == [inf]


def test_a_device_that_comes_back_finds_the_bandwidth_of_that_time() -> None:
    changes: list[Change] = [LoadChange(25, "b", None), BandwidthChange(50, "b", "a", 2.0), LoadChange(75, "b", 3.0)]
    assert _ends(*changes) == pytest.approx([75 + 4 * 4 + 18])


def test_requests_that_never_end_are_told_apart() -> None:
    timeline = simulate(PROBLEM, SPLIT, changes=[LoadChange(40, "b", None)], requests=3)
    assert [request.finished for request in timeline.requests] == [True, False, False]
    assert timeline.makespan_ms == timeline.total_delay_ms == timeline.delay_variance_ms2 == inf
    assert (timeline.latency_percentile_ms(30), timeline.latency_percentile_ms(95)) == (35, inf)
    assert timeline.throughput_hz is None
    stuck = timeline.requests[1]
    assert (stuck.waited_ms, stuck.computed_ms, stuck.sent_ms, stuck.late) == (20, 20, 0, False)
    assert simulate(PROBLEM, SPLIT, changes=[LoadChange(30, "a", None)], requests=4).throughput_hz is None


def test_endings_after_the_last_request_change_nothing() -> None:
    assert _ends(LoadChange(1e6, "a", None)) == [35]


def test_a_link_listed_once_changes_both_ways_and_one_listed_twice_does_not() -> None:
    assert rate_changes(PROBLEM, [BandwidthChange(5, "b", "a", 2.0)]) == (
        RateChange(5, "b", Work.SEND, 0.25, "a"),
        RateChange(5, "a", Work.SEND, 0.25, "b"),
    )
    both = replace(PROBLEM, links=(*PROBLEM.links, Link("b", "a", 4.0)))
    assert rate_changes(both, [BandwidthChange(5, "b", "a", 2.0)]) == (RateChange(5, "b", Work.SEND, 0.5, "a"),)


def test_unknown_places() -> None:
    with pytest.raises(UnknownPlaceError, match="device moon"):
        _ends(LoadChange(1, "moon", 2.0))
    with pytest.raises(UnknownPlaceError, match="link from a to moon"):
        _ends(BandwidthChange(1, "a", "moon", 2.0))


CAMERAS = read_problem((INSTANCES / "two_cameras_one_server.json").read_bytes())


def _random_plans(rng: random.Random) -> dict[str, StreamPlan]:
    plans = {}
    for stream in CAMERAS.streams:
        count = len(CAMERAS.models[stream.model].blocks)
        cut = rng.randint(1, count - 1)
        route = sequential_route([(0, cut, stream.source, "raw"), (cut, count, "server", "raw")], stream.jobs)
        plans[stream.name] = StreamPlan((route,), tuple(range(stream.jobs)))
    return plans


def _tiled() -> tuple[Problem, dict[str, StreamPlan]]:
    """Two convolutions shared by three devices, with an exchange of halo between them."""
    block = Block("conv", 1200, rows=RowProfile(12, 3, 1, 1))
    devices = {
        name: Device({"m": (time_ms, 2 * time_ms)}) for name, time_ms in zip("abc", (6.0, 9.0, 4.0), strict=True)
    }
    links = tuple(Link(*ends, mbps) for ends, mbps in ((("a", "b"), 1.0), (("a", "c"), 2.0), (("b", "c"), 0.5)))
    problem = Problem({"m": Model(2400, (block, block), None, 12)}, devices, links, (Stream("s", "m", "a", "a"),))
    stages = (
        Stage(0, 1, (Tile("a", (0, 5)), Tile("b", (5, 8)), Tile("c", (8, 12)))),
        Stage(1, 2, (Tile("c", (0, 6)), Tile("a", (6, 12)))),
    )
    return problem, {"s": StreamPlan((Route(stages),))}


def _all_times(timeline: Timeline) -> list[tuple[float, float]]:
    return [(activity.start_ms, activity.end_ms) for activity in timeline.activities]


def _flattened(values: Sequence[tuple[float, float]]) -> list[float]:
    return [value for pair in values for value in pair]


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
@pytest.mark.parametrize("quantum_ms", [None, 3.0])
def test_a_change_at_the_start_is_another_problem(discipline: QueueDiscipline, quantum_ms: float | None) -> None:
    rng = random.Random(discipline.value)
    rules = Rules(dict.fromkeys(CAMERAS.devices, discipline), quantum_ms, {"server": 1})
    for _ in range(5):
        plans = _random_plans(rng)
        loads = {name: rng.uniform(0.5, 4) for name in CAMERAS.devices}
        mbps = [rng.uniform(1, 50) for _ in CAMERAS.links]
        changed = replace(
            CAMERAS,
            devices={name: replace(device, load_factor=loads[name]) for name, device in CAMERAS.devices.items()},
            links=tuple(replace(link, bandwidth_mbps=new) for link, new in zip(CAMERAS.links, mbps, strict=True)),
        )
        changes: list[Change] = [
            *(LoadChange(0, name, load) for name, load in loads.items()),
            *(BandwidthChange(0, own.source, own.target, new) for own, new in zip(CAMERAS.links, mbps, strict=True)),
        ]
        found = simulate(CAMERAS, plans, rules=rules, changes=changes)
        expected = simulate(changed, plans, rules=rules)
        assert [request.end_ms for request in found.requests] == pytest.approx(
            [request.end_ms for request in expected.requests]
        )


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
@pytest.mark.parametrize("tiled", [False, True])
def test_where_everything_slows_down_time_is_stretched(discipline: QueueDiscipline, tiled: bool) -> None:
    """Exact integration: three times the load and a third of the bandwidth from T on puts t at T + 3 (t - T)."""
    rng = random.Random(discipline.value)
    problem, plans = _tiled() if tiled else (CAMERAS, _random_plans(rng))
    problem = replace(problem, links=tuple(replace(link, latency_ms=0.0) for link in problem.links))
    rules = Rules(dict.fromkeys(problem.devices, discipline))
    before = simulate(problem, plans, rules=rules, requests=6)
    for share in (0.1, 0.37, 0.8):
        at_ms = before.makespan_ms * share
        changes: list[Change] = [
            LoadChange(at_ms, name, 3 * device.load_factor) for name, device in problem.devices.items()
        ]
        changes += [BandwidthChange(at_ms, own.source, own.target, own.bandwidth_mbps / 3) for own in problem.links]
        after = simulate(problem, plans, rules=rules, requests=6, changes=changes)
        stretched = [
            at_ms + 3 * (time_ms - at_ms) if time_ms > at_ms else time_ms for time_ms in _flattened(_all_times(before))
        ]
        assert _flattened(_all_times(after)) == pytest.approx(stretched)


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
@pytest.mark.parametrize("quantum_ms", [None, 0.7])
def test_work_is_done_under_changing_load(discipline: QueueDiscipline, quantum_ms: float | None) -> None:
    """One device, busy from the start: what it does until the end is all the work there was."""
    rng = random.Random(discipline.value)
    problem = Problem({"m": Model(1, (Block("x", 1),))}, {"d": Device({"m": (5.0,)})}, (), (Stream("s", "m", "d"),))
    plan = {"s": StreamPlan((sequential_route([(0, 1, "d", "raw")]),))}
    for _ in range(20):
        times = sorted(rng.uniform(0, 60) for _ in range(6))
        loads = [rng.choice([None, rng.uniform(0.5, 4)]) for _ in times[1:]] + [1.5]
        changes = [LoadChange(at_ms, "d", load) for at_ms, load in zip(times, loads, strict=True)]
        end_ms = simulate(
            problem, plan, requests=4, rules=Rules({"d": discipline}, quantum_ms), changes=changes
        ).makespan_ms
        done_ms, since_ms, rate = 0.0, 0.0, 1.0
        for change in changes:
            until_ms = min(change.at_ms, end_ms)
            done_ms += (until_ms - since_ms) * rate
            since_ms, rate = until_ms, 0.0 if change.load_factor is None else 1 / change.load_factor
        assert done_ms + (end_ms - since_ms) * rate == pytest.approx(20)


@pytest.mark.parametrize("separate_links", [False, True])
def test_a_slower_link_slows_its_own_sendings_with_or_without_separate_links(separate_links: bool) -> None:
    rows = Block("x", 9000, rows=RowProfile(9))
    devices = {"phone": Device(separate_links=separate_links), "a": Device({"m": (9.0,)}), "b": Device({"m": (9.0,)})}
    links = (Link("phone", "a", 8.0), Link("phone", "b", 8.0))
    problem = Problem({"m": Model(9000, (rows,), None, 9)}, devices, links, (Stream("s", "m", "phone"),))
    plan = {"s": StreamPlan((Route((Stage(0, 1, (Tile("a", (0, 3)), Tile("b", (3, 9)))),)),))}
    run = simulate(problem, plan, changes=[BandwidthChange(1, "phone", "b", 4.0)])
    # Of 6 ms for b, one is done at the full rate if both links are used at once.
    assert run.link_ms()["phone", "b"] == pytest.approx(1 + 10 if separate_links else 12)
    assert run.link_ms()["phone", "a"] == pytest.approx(3)


def test_the_same_story_gives_the_same_timeline() -> None:
    changes = [LoadChange(100, "server", 3.0), LoadChange(300, "server", None), LoadChange(350, "server", 1.0)]
    plans = _random_plans(random.Random(1))
    runs = [
        simulate(CAMERAS, plans, arrivals=Poisson(8.0), requests=30, seed=5, changes=order)
        for order in (changes, list(reversed(changes)), changes[:1])
    ]
    assert runs[0] == runs[1] != runs[2]
