"""Thresholds of plans in force: computed for streams planned alone, and withdrawn for the others."""

import json

import pytest

from services.planner.coordination.effects import Effect
from services.planner.coordination.stream_thresholds import THRESHOLDS_EVERY_S
from services.planner.decisions.switching_ranges import find_thresholds
from services.planner.inbound import PolicyDocument
from shared.bus import topics
from shared.messages.alternatives import Alternatives
from tests.support.planner_bench import Bench, published
from tests.support.planner_fleet import manifest_of
from tests.support.planner_world import PI_MS, SHARED_MS, declaration, link, presence, profile

NAMES = ("east", "west")


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.hear(presence("server"), profile("server", SHARED_MS), manifest_of())
    for name in NAMES:
        made.hear(presence(name), profile(name, PI_MS), link(name, "server", 50.0), declaration(name, source=name))
    made.obey()
    return made


def look(bench: Bench) -> list[Effect]:
    """Run every threshold job that is due."""
    bench.now_s += THRESHOLDS_EVERY_S
    done: list[Effect] = []
    while (asked := bench.core.next_threshold_job(bench.now_s)) is not None:
        done += bench.take(bench.core.thresholds_found(asked, find_thresholds(asked), bench.now_s))
    return done


def demand(bench: Bench, policy: object, *names: str) -> list[Effect]:
    done: list[Effect] = []
    for name in names:
        done += bench.hear(PolicyDocument(name, json.dumps(policy).encode()))
    return done + bench.obey()


def told(effects: list[Effect], stream: str) -> list[int]:
    found = published(effects, topics.alternatives(stream))
    return [len(Alternatives.decode(payload).thresholds) for payload in found]


def test_a_stream_that_is_planned_for_itself_has_thresholds_once(bench: Bench) -> None:
    done = look(bench)
    assert all(len(told(done, name)) == 1 and told(done, name)[0] > 0 for name in NAMES)
    assert look(bench) == []


def test_no_segment_is_kept_warm_under_another_description_than_its_epoch(bench: Bench) -> None:
    bench.now_s += THRESHOLDS_EVERY_S
    job = bench.core.next_threshold_job(bench.now_s)
    assert job is not None
    bench.take(bench.core.model_stored(manifest_of(apply_softmax=True), bench.now_s))
    assert bench.take(bench.core.thresholds_found(job, find_thresholds(job), bench.now_s)) == []


def test_streams_that_are_planned_together_have_none(bench: Bench) -> None:
    look(bench)
    done = demand(bench, {"strategy": "milp"}, *NAMES)
    assert all(told(done, name)[-1] == 0 for name in NAMES)
    assert look(bench) == []


def test_a_stream_that_is_on_its_own_again_has_them_again(bench: Bench) -> None:
    demand(bench, {"strategy": "milp"}, *NAMES)
    demand(bench, {}, "west")
    done = look(bench)
    assert all(told(done, name)[-1] > 0 for name in NAMES)
