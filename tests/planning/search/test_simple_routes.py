"""Routes over the source and one helper."""

from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream
from planning.search.simple_routes import keeps_constraints, local_route, split_route
from shared.policy import CodecMode, Policy


def _problem(sink: str | None = None, policy: Policy | None = None) -> Problem:
    codecs = {"int8": CodecProfile(10, 0.0, 0.0)}
    model = Model(100, (Block("x", 40, codecs=codecs), Block("y", 4), Block("z", 4)))
    devices = {name: Device({"m": (1.0, 1.0, 1.0)}) for name in ("camera", "server")}
    links = (Link("camera", "server", 8.0),)
    return Problem({"m": model}, devices, links, (Stream("s", "m", "camera", sink),), policy or Policy())


@pytest.mark.parametrize(
    ("cut", "stages"),
    [
        (0, [(0, 3, "server", "raw")]),
        (1, [(0, 1, "camera", "raw"), (1, 3, "server", "raw")]),
        (3, [(0, 3, "camera", "raw")]),
    ],
)
def test_a_cut_divides_the_blocks(cut: int, stages: list[tuple[int, int, str, str]]) -> None:
    problem = _problem()
    route = split_route(problem, problem.streams[0], "server", cut)
    assert [(stage.start, stage.stop, stage.device, stage.codec) for stage in route.stages] == stages


def test_only_what_crosses_the_cut_is_encoded() -> None:
    problem = _problem()
    route = split_route(problem, problem.streams[0], "server", 1, "int8")
    assert [stage.codec for stage in route.stages] == ["int8", "raw"]
    bound = _problem(policy=Policy(codec=CodecMode.INT8))
    plainest = split_route(bound, bound.streams[0], "server", 1)
    assert plainest.stages[0].codec == "int8"


def test_a_local_route_needs_a_source_that_computes_and_reaches_the_sink() -> None:
    problem = _problem(sink="server")
    stream = problem.streams[0]
    route = local_route(problem, stream, CostModel(problem))
    assert route is not None
    assert route.devices == ("camera",)
    apart = replace(problem, links=())
    assert local_route(apart, stream, CostModel(apart)) is None
    helpless = replace(problem, devices={**problem.devices, "camera": Device()})
    assert local_route(helpless, stream, CostModel(helpless)) is None


def test_constraints_are_those_of_the_stream_alone() -> None:
    problem = _problem(policy=Policy(deadline_ms=3.0))
    stream = problem.streams[0]
    local, split = (split_route(problem, stream, "server", cut) for cut in (3, 1))
    assert keeps_constraints(problem, stream, local)
    assert not keeps_constraints(problem, stream, split)
    assert keeps_constraints(problem, stream, local, CostModel(problem))
