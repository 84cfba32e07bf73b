from dataclasses import replace

import numpy as np
import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Route
from planning.problem.problem import Link, Problem, Stream
from planning.search.two_device_splits import split_table
from planning.sensitivity.envelope import critical_envelope, latency_at_ms
from tests.support.shared_paths import INSTANCES


def _one_cut_routes(problem: Problem, stream: Stream) -> list[Route]:
    cuts = split_table(problem, stream)
    return [cuts.route(index) for index in range(len(cuts.cut))]


def test_envelope_is_below_every_cut_at_every_bandwidth() -> None:
    problem = read_problem((INSTANCES / "alexnet_pi_cloud_4g.json").read_bytes())
    stream = problem.streams[0]
    envelope = critical_envelope(problem, stream, ())
    assert envelope is not None
    assert set(envelope.ends) == {"pi", "cloud"}
    assert envelope.thresholds_mbps == tuple(sorted(envelope.thresholds_mbps))
    assert envelope.thresholds_mbps
    for bandwidth in np.geomspace(envelope.low_mbps, envelope.high_mbps, 60):
        fastest = next(piece.route for piece in envelope.ranges if bandwidth <= piece.high)
        own_ms = latency_at_ms(problem, stream, fastest, envelope.ends, bandwidth)
        least_ms = min(
            latency_at_ms(problem, stream, route, envelope.ends, bandwidth)
            for route in _one_cut_routes(problem, stream)
        )
        assert own_ms == pytest.approx(least_ms)


def test_other_routes_are_candidates_once() -> None:
    problem = read_problem((INSTANCES / "alexnet_pi_cloud_4g.json").read_bytes())
    stream = problem.streams[0]
    routes = _one_cut_routes(problem, stream)
    envelope = critical_envelope(problem, stream, [*routes, *(replace(route, jobs=3) for route in routes)])
    assert envelope is not None
    assert len(envelope.candidates) == len(routes)


def test_the_critical_link_is_the_one_whose_threshold_is_nearest() -> None:
    problem = read_problem((INSTANCES / "alexnet_pi_cloud_4g.json").read_bytes())
    cloud = problem.devices["cloud"]
    slow = replace(cloud, load_factor=1e6)
    problem = replace(problem, devices={**problem.devices, "useless": slow})
    problem = replace(problem, links=(Link("pi", "useless", 1.0), *problem.links))
    envelope = critical_envelope(problem, problem.streams[0], ())
    assert envelope is not None
    assert set(envelope.ends) == {"pi", "cloud"}


def test_no_links_no_envelope() -> None:
    problem = read_problem((INSTANCES / "alexnet_pi_cloud_4g.json").read_bytes())
    assert critical_envelope(replace(problem, links=()), problem.streams[0], ()) is None
