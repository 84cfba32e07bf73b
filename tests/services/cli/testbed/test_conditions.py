"""Conditions of phases, and the emulation that produces them."""

from typing import Any

from services.cli.testbed.conditions import (
    describe_conditions,
    device_in_use,
    emulations,
    measured_conditions,
    phase_conditions,
    usual_conditions,
)
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.fleet_file import parse_fleet
from shared.messages.devices import EmulatedLink, Emulation, LinkEstimate, Links
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage


def fleet(**phase: Any) -> Fleet:
    return parse_fleet(
        {
            "model": {"file": "m.onnx"},
            "stream": {"source": "a", "images": ["x"]},
            "devices": {"a": {"slowdown": 8.0}, "b": {"slowdown": 2.0}, "c": {}},
            "links": [
                {"between": ["a", "b"], "bandwidth_mbps": 20.0, "latency_ms": 5.0},
                {"between": ["b", "c"], "bandwidth_mbps": 50.0},
            ],
            "phases": [{"name": "p", "duration_s": 1.0, **phase}],
        },
        origin="F",
    )


def plan(*routes: PlanRoute) -> CommittedPlan:
    return CommittedPlan(stream="s", epoch=1, model="0" * 64, source="a", strategy="x", routes=routes)


def route(*stages: tuple[str, int, int], weight: int = 1) -> PlanRoute:
    return PlanRoute(stages=tuple(PlanStage(device=d, start=i, stop=j) for d, i, j in stages), weight=weight)


def test_emulated_devices_are_told_their_links_in_both_directions_and_that_there_are_no_others() -> None:
    described = fleet()
    assert emulations(described, usual_conditions(described)) == (
        Emulation(
            device="a",
            slowdown=8,
            links=(
                EmulatedLink(target="b", bandwidth_mbps=20, latency_ms=5),
                EmulatedLink(target="c", bandwidth_mbps=0),
            ),
        ),
        Emulation(
            device="b",
            slowdown=2,
            links=(
                EmulatedLink(target="a", bandwidth_mbps=20, latency_ms=5),
                EmulatedLink(target="c", bandwidth_mbps=50),
            ),
        ),
        Emulation(
            device="c",
            links=(EmulatedLink(target="a", bandwidth_mbps=0), EmulatedLink(target="b", bandwidth_mbps=50)),
        ),
    )


def test_a_phase_changes_what_it_mentions_and_nothing_else() -> None:
    described = fleet(
        links=[{"between": ["b", "a"], "bandwidth_mbps": 1.5, "latency_ms": 5.0}], load={"in-use": 6.0}, kill="c"
    )
    conditions = phase_conditions(described, described.phases[0], in_use="b")
    told = {each.device: each for each in emulations(described, conditions)}
    assert EmulatedLink(target="b", bandwidth_mbps=1.5, latency_ms=5) in told["a"].links
    assert EmulatedLink(target="b", bandwidth_mbps=50) in told["c"].links
    assert (told["a"].load_factor, told["b"].load_factor) == (1, 6)
    assert conditions.dead == {"c"}
    assert describe_conditions(described, conditions) == "link a - b at 1.5 of 20 Mbps, b 6 times slower, c killed"
    assert describe_conditions(described, usual_conditions(described)) == "as described"


def test_real_devices_are_what_their_monitors_say() -> None:
    links = [
        Links(device="a", sent_at_s=1.0, links=(LinkEstimate(target="b", bandwidth_mbps=20.0, latency_ms=2.0),)),
        Links(
            device="b",
            sent_at_s=1.0,
            links=(
                LinkEstimate(target="a", bandwidth_mbps=15.0, latency_ms=3.0),
                LinkEstimate(target="c", bandwidth_mbps=0.0, latency_ms=0.0),
            ),
        ),
    ]
    conditions = measured_conditions(links, {"a": 1.5}, frozenset(["c"]))
    assert {pair: link.bandwidth_mbps for pair, link in conditions.links.items()} == {("a", "b"): 15.0}
    assert conditions.load == {"a": 1.5}
    assert conditions.dead == {"c"}


def test_the_device_in_use_may_be_killed() -> None:
    described = fleet(kill="in-use")
    assert phase_conditions(described, described.phases[0], in_use="c").dead == {"c"}


def test_the_device_in_use_computes_most_away_from_the_source() -> None:
    assert device_in_use(plan(route(("a", 0, 8), ("b", 8, 9), ("c", 9, 12)))) == "c"
    assert device_in_use(plan(route(("b", 0, 12)), route(("c", 0, 12), weight=3))) == "c"
    assert device_in_use(plan(route(("a", 0, 12)))) == "a"
