"""Problems from the published split profiles."""

import pytest

from benchmarks.masud_profiles import PROFILES, problems
from planning.cost.cost_model import CostModel
from planning.problem.plan import sequential_route


def test_every_model_has_a_problem_on_two_pis_and_with_a_gpu() -> None:
    found = [(name, pair) for name, pair, _ in problems()]
    assert found == [(name, pair) for name in PROFILES for pair in ("Pi + Pi", "Pi + GPU")]


def test_the_whole_model_on_a_pi_takes_the_published_time_but_for_noise() -> None:
    for name, _, problem in problems():
        profile, stream = PROFILES[name], problem.streams[0]
        blocks = len(problem.models[name].blocks)
        assert blocks == len(profile.head_ms) + 1 == len(profile.elements) + 1
        route = sequential_route([(0, blocks, "pi", "raw")])
        whole_ms = CostModel(problem).latency_ms(stream, route)
        assert whole_ms == pytest.approx(max(profile.whole_ms, *profile.head_ms))
        assert all(time_ms >= 0 for device in problem.devices.values() for time_ms in device.block_ms[name])
