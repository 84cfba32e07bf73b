import json
from dataclasses import replace

from planning.problem.plan import Route, Stage, StreamPlan, Tile, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.simulation.perfetto_trace import chrome_trace
from planning.simulation.simulation import simulate

PROBLEM = Problem(
    {"m": Model(1000, (Block("x", 2000), Block("y", 1000)))},
    {"a": Device({"m": (10.0, 20.0)}), "b": Device({"m": (5.0, 6.0)})},
    (Link("a", "b", 8.0, 1.0),),
    (Stream("s", "m", "a"),),
)
SPLIT = {"s": StreamPlan((sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]),))}


def test_chrome_trace_is_json_with_microseconds() -> None:
    trace = json.loads(json.dumps(chrome_trace(simulate(PROBLEM, SPLIT))))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(event["ts"], event["dur"]) for event in spans] == [(0, 10_000), (10_000, 3_000), (13_000, 6_000)]
    assert [event["name"] for event in spans] == ["s #0: stage 0", "s #0: to b", "s #0: stage 1"]
    names = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
    assert names == {"a", "b"}


def test_tiles_show_their_rows() -> None:
    block = Block("x", 1000, rows=RowProfile(10, 3, 1, 1))
    problem = Problem({"m": Model(1000, (block,))}, PROBLEM.devices, PROBLEM.links, PROBLEM.streams)
    problem = replace(problem, devices={name: Device({"m": (10.0,)}) for name in "ab"})
    tiled = {"s": StreamPlan((Route((Stage(0, 1, (Tile("a", (0, 6)), Tile("b", (6, 10)))),)),))}
    timeline = simulate(problem, tiled)
    spans = [event for event in chrome_trace(timeline)["traceEvents"] if event["ph"] == "X"]
    assert [event["args"]["rows"] for event in spans] == [[5, 10], [6, 10], [0, 6]]
    assert [event["name"] for event in spans] == [
        "s #0: to b rows [5, 10)",
        "s #0: stage 0 rows [6, 10)",
        "s #0: stage 0 rows [0, 6)",
    ]
