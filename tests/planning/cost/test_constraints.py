from dataclasses import replace

from planning.cost.constraints import memory_bytes, violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Route, Stage, StreamPlan, Tile, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from shared.policy import DeviceRule, Policy

BLOCKS = (Block("x", 100, parameter_bytes=10), Block("y", 40, parameter_bytes=20, activation_bytes=300))
PROBLEM = Problem(
    {"m": Model(50, BLOCKS)},
    {"a": Device({"m": (1.0, 2.0)}), "b": Device({"m": (1.0, 2.0)}, memory_bytes=400), "c": Device()},
    (Link("a", "b", 8.0),),
    (Stream("s", "m", "a"),),
)
SPLIT = {"s": StreamPlan((sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]),))}


def _broken(problem: Problem, plans: dict[str, StreamPlan] = SPLIT) -> list[tuple[Constraint, float | None]]:
    return [(violation.constraint, violation.excess) for violation in violations(CostModel(problem), plans)]


def test_a_good_plan_breaks_nothing() -> None:
    assert _broken(PROBLEM) == []


def test_memory_is_parameters_plus_largest_activation() -> None:
    assert memory_bytes(PROBLEM, SPLIT) == {"a": 110, "b": 320}
    device = replace(PROBLEM.devices["b"], memory_bytes=300)
    assert _broken(replace(PROBLEM, devices={**PROBLEM.devices, "b": device})) == [(Constraint.MEMORY, 20)]


def test_a_shared_segment_is_held_once_and_different_ones_add_up() -> None:
    routes = (sequential_route([(0, 2, "a", "raw")]), sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]))
    plans = {"s": StreamPlan(routes, (0, 1)), "t": StreamPlan(routes, (0, 1))}
    problem = replace(PROBLEM, streams=(PROBLEM.streams[0], Stream("t", "m", "a")))
    assert memory_bytes(problem, plans) == {"a": 10 + 30 + 300, "b": 320}


def test_a_device_with_a_cap_runs_the_first_blocks_only() -> None:
    capped = replace(PROBLEM.devices["b"], first_blocks=1)
    problem = replace(PROBLEM, devices={**PROBLEM.devices, "b": capped})
    assert _broken(problem) == [(Constraint.MEMORY, 1)]
    at_b = {"s": StreamPlan((sequential_route([(0, 1, "b", "raw"), (1, 2, "a", "raw")]),))}
    assert _broken(problem, at_b) == []
    (violation,) = violations(CostModel(problem), SPLIT)
    assert violation.message == "device b runs only the first 1 blocks of a model, not block 1"


def test_deadline_is_the_stricter_one() -> None:
    stream = replace(PROBLEM.streams[0], deadline_ms=3.0)
    problem = replace(PROBLEM, streams=(stream,), policy=Policy(deadline_ms=1.0))
    assert _broken(problem) == [(Constraint.DEADLINE, 1.0 + 0.1 + 2.0 - 1.0)]


def test_policy_rules_about_devices() -> None:
    assert _broken(replace(PROBLEM, policy=Policy(devices=DeviceRule(deny=("b",))))) == [(Constraint.DEVICES, None)]
    assert _broken(replace(PROBLEM, policy=Policy(max_devices=1))) == [(Constraint.MAX_DEVICES, 1)]
    remote = {"s": StreamPlan((sequential_route([(0, 2, "b", "raw")]),))}
    assert _broken(PROBLEM, remote) == []
    assert _broken(replace(PROBLEM, policy=Policy(raw_input_stays_on_source=True)), remote) == [
        (Constraint.RAW_INPUT, None)
    ]


def test_everything_that_is_wrong_is_told() -> None:
    lost = {"s": StreamPlan((sequential_route([(0, 1, "b", "int8"), (1, 2, "c", "raw")]),))}
    found = [constraint for constraint, _ in _broken(PROBLEM, lost)]
    assert found == [Constraint.ROUTE, Constraint.ROUTE, Constraint.CODEC]


ROWS = tuple(replace(block, rows=RowProfile(10, 3, 1, 1)) for block in BLOCKS)
TILEABLE = replace(PROBLEM, models={"m": Model(50, (*ROWS, Block("fc", 4)))})
TILEABLE = replace(
    TILEABLE,
    devices={name: replace(device, block_ms={"m": (1.0, 2.0, 3.0)}) for name, device in PROBLEM.devices.items()},
    links=(*PROBLEM.links, Link("a", "c", 8.0)),
)


def _tiled(*stages: Stage) -> dict[str, StreamPlan]:
    return {"s": StreamPlan((Route(stages),))}


GOOD = _tiled(Stage(0, 2, (Tile("a", (0, 4)), Tile("b", (4, 10)))), Stage(2, 3, (Tile("a"),)))


def test_a_good_tiled_plan_breaks_nothing() -> None:
    assert _broken(TILEABLE, GOOD) == []


def test_memory_of_a_tile_is_all_parameters_and_its_rows_of_the_activations() -> None:
    # a makes rows [0, 4) of y, 120 bytes of 300, and [0, 5) of x, 50 of 100; b makes 180 of y and 70 of x.
    assert memory_bytes(TILEABLE, GOOD) == {"a": 30 + 120, "b": 30 + 180}
    device = replace(TILEABLE.devices["b"], memory_bytes=200)
    small = replace(TILEABLE, devices={**TILEABLE.devices, "b": device})
    assert _broken(small, GOOD) == [(Constraint.MEMORY, 10)]


def test_tiles_keep_the_policy() -> None:
    assert _broken(replace(TILEABLE, policy=Policy(raw_input_stays_on_source=True)), GOOD) == [
        (Constraint.RAW_INPUT, None)
    ]
    assert _broken(replace(TILEABLE, policy=Policy(max_devices=1)), GOOD) == [(Constraint.MAX_DEVICES, 1)]
    assert _broken(replace(TILEABLE, policy=Policy(devices=DeviceRule(deny=("b",)))), GOOD) == [
        (Constraint.DEVICES, None)
    ]
    late = replace(TILEABLE, policy=Policy(deadline_ms=1.0))
    latency_ms = CostModel(TILEABLE).latency_ms(TILEABLE.streams[0], GOOD["s"].routes[0])
    assert _broken(late, GOOD) == [(Constraint.DEADLINE, latency_ms - 1)]


def test_a_device_without_tiles_takes_no_part_in_routes_with_tiles() -> None:
    """Not even with a whole stage: it would have to put rows together, or to divide its output."""
    device = replace(TILEABLE.devices["a"], untiled_models=("m",))
    problem = replace(TILEABLE, devices={**TILEABLE.devices, "a": device})
    assert _broken(problem, GOOD) == [(Constraint.TILES, None)]
    assert _broken(problem, _tiled(Stage(0, 3, (Tile("a"),)))) == []
    other = replace(device, untiled_models=("another",))
    assert _broken(replace(TILEABLE, devices={**TILEABLE.devices, "a": other}), GOOD) == []


def test_only_devices_that_have_to_pass_rows_need_a_link() -> None:
    """b and c are not linked: a may scatter to both and gather, but they cannot exchange a halo."""
    scattered = Stage(0, 1, (Tile("b", (0, 5)), Tile("c", (5, 10))))
    gathered = Stage(1, 3, (Tile("a"),))
    assert _broken(TILEABLE, _tiled(scattered, gathered)) == []
    exchanged = _tiled(scattered, replace(scattered, start=1, stop=2), Stage(2, 3, (Tile("a"),)))
    assert [found.message for found in violations(CostModel(TILEABLE), exchanged)] == [
        "there is no link from b to c",
        "there is no link from c to b",
    ]


def test_stages_that_cannot_be_split_so() -> None:
    halves = (Tile("a", (0, 5)), Tile("b", (5, 10)))
    found = violations(CostModel(TILEABLE), _tiled(Stage(0, 3, halves)))
    assert [violation.constraint for violation in found] == [Constraint.TILES]
    assert found[0].message == (
        "stream s: blocks [0, 3) cannot be split so: block 2 (fc) has no row data, so no tile can hold it"
    )
    short = _tiled(Stage(0, 2, (Tile("a", (0, 4)), Tile("b", (4, 9)))), Stage(2, 3, (Tile("a"),)))
    assert _broken(TILEABLE, short) == [(Constraint.TILES, None)]
    gap = _tiled(Stage(0, 2, (Tile("a", (0, 4)), Tile("b", (5, 10)))), Stage(2, 3, (Tile("a"),)))
    assert "rows [4, 5) belong to no tile" in violations(CostModel(TILEABLE), gap)[0].message
