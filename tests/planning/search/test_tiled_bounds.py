import json
from dataclasses import replace
from typing import Any

import pytest

from planning.files.problem_file import read_problem
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.search.tiled_bounds import may_split, tiled_bound
from shared.policy import Objective, Policy
from tests.support.shared_paths import REPOSITORY

TILES = REPOSITORY / "examples" / "tiles"
ROWS = RowProfile(4)


def _problem(**changed: Any) -> Problem:
    values = json.loads((TILES / "problem.json").read_bytes())
    return read_problem(json.dumps({**values, **changed}).encode())


def test_stages_are_split_between_two_devices_at_least_and_only_with_rows() -> None:
    values = json.loads((TILES / "problem.json").read_bytes())
    assert may_split(_problem())
    models = {
        name: {**model, "blocks": [{k: v for k, v in block.items() if k != "rows"} for block in model["blocks"]]}
        for name, model in values["models"].items()
    }
    for model in models.values():
        model.pop("input_rows", None)
    whole = {name: {k: v for k, v in device.items() if k != "row_ms"} for name, device in values["devices"].items()}
    assert not may_split(_problem(models=models, devices=whole))
    source = values["streams"][0]["source"]
    assert not may_split(_problem(devices={source: values["devices"][source]}, links=[]))
    assert not may_split(replace(_problem(), policy=Policy(max_devices=1)))


def _two_devices(objective: Objective, jobs: int = 1) -> Problem:
    """Blocks with rows of 12 ms on a and 4 ms on b, then one without of 6 and 2 ms."""
    model = Model(1000, (Block("x", 1000, rows=ROWS), Block("y", 10)))
    a = Device({"m": (12.0, 6.0)}, power_active_w=1.0)
    b = Device({"m": (4.0, 2.0)}, power_active_w=2.0)
    stream = Stream("s", "m", "a", jobs=jobs)
    return Problem({"m": model}, {"a": a, "b": b}, (Link("a", "b", 10.0),), (stream,), Policy(objective=objective))


@pytest.mark.parametrize(
    ("objective", "jobs", "bound"),
    [
        # Together the devices take 1 / (1/12 + 1/4) = 3 ms for x, and a row takes 0.2 ms to b. Then y takes 2 ms there.
        (Objective.LATENCY, 1, 5.2),
        # Together they take 1 / (1/18 + 1/6) = 4.5 ms for a job.
        (Objective.THROUGHPUT, 2, 4.5),
        (Objective.MAKESPAN, 1, 5.2),
        (Objective.MAKESPAN, 4, 18.0),
        (Objective.TOTAL_DELAY, 2, 5.2 + 9.0),
        # b takes 8 and 4 mJ, a 12 and 6.
        (Objective.ENERGY, 1, 0.012),
        (Objective.DEADLINE, 1, 0.0),
        (Objective.DELAY_VARIANCE, 3, 0.0),
    ],
)
def test_bounds_by_hand(objective: Objective, jobs: int, bound: float) -> None:
    assert tiled_bound(_two_devices(objective, jobs)) == pytest.approx(bound)


def test_a_table_that_favours_few_rows_lowers_the_bound() -> None:
    problem = _two_devices(Objective.THROUGHPUT)
    tables = {"m": (((1, 1.0),), None)}
    devices = {name: replace(device, row_ms=tables) for name, device in problem.devices.items()}
    # A row takes 1 ms on either device, x 4 ms. With equal multipliers x counts 4 / 2 ms, y 2 / 2 ms.
    assert tiled_bound(replace(problem, devices=devices)) == pytest.approx(3.0)


def test_a_source_that_cannot_compute_leaves_no_block_at_the_source() -> None:
    problem = _two_devices(Objective.DEADLINE)
    assert tiled_bound(replace(problem, devices={**problem.devices, "a": Device()})) == 2.0
    assert tiled_bound(replace(problem, devices={"a": Device(), "b": Device()})) is None
