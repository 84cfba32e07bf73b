import json
from typing import Any

import pytest

from planning.files.json_document import InvalidDocumentError
from planning.files.plan_file import answer_values, read_plan, write_answer
from planning.problem.plan import (
    Constraint,
    CostPrediction,
    Infeasible,
    Plan,
    Route,
    Stage,
    StreamPlan,
    Tile,
    Violation,
)
from shared.policy import Objective, QueueDiscipline

PLAN = Plan(
    "jps",
    Objective.MAKESPAN,
    {
        "camera": StreamPlan(
            (
                Route((Stage(0, 4, (Tile("pi"),), "int8"), Stage(4, 9, (Tile("a", (0, 5)), Tile("b", (5, 9))))), 2),
                Route((Stage(0, 9, (Tile("pi"),)),)),
            ),
            (2, 0, 1),
            CostPrediction(1.0, None, 2.0, 3.0),
        )
    },
    CostPrediction(1.0, 5.0, 2.0, 3.0, 0.25),
    cost=3.0,
    lower_bound=2.5,
    solve_ms=0.4,
    disciplines={"a": QueueDiscipline.FIFO},
    left_out=("milp",),
    estimated=True,
)


def test_round_trip() -> None:
    assert read_plan(write_answer(PLAN)) == PLAN


def test_keys_of_the_contract() -> None:
    values = answer_values(PLAN)
    assert set(values) >= {"strategy", "objective", "feasible", "optimal", "lower_bound", "solve_ms", "predicted"}
    assert values["streams"]["camera"]["routes"][0]["stages"][1] == {
        "blocks": [4, 9],
        "tiles": [{"device": "a", "rows": [0, 5]}, {"device": "b", "rows": [5, 9]}],
        "codec": "raw",
    }
    assert values["disciplines"] == {"a": "fifo"}


def test_infeasible_says_why_and_by_how_much() -> None:
    answer = Infeasible("auto", Objective.LATENCY, (Violation(Constraint.DEADLINE, "s", "too late", 10.0, 12.5),))
    values = json.loads(write_answer(answer))
    assert (values["feasible"], values["reason"], values["reasons"][0]["excess"]) == (False, "too late", 2.5)
    with pytest.raises(InvalidDocumentError):
        read_plan(write_answer(answer))


def test_order_must_name_every_job() -> None:
    values = answer_values(PLAN)
    values["streams"]["camera"]["order"] = [0, 0, 1]
    with pytest.raises(InvalidDocumentError, match=r"\$\.streams\.camera\.order"):
        read_plan(json.dumps(values))


@pytest.mark.parametrize(
    ("tiles", "place", "message"),
    [
        ([["a", [0, 5]], ["b", [6, 9]]], 1, r"rows \[5, 6\) belong to no tile"),
        ([["a", [0, 5]], ["b", [4, 9]]], 1, r"rows \[4, 5\) belong to two tiles"),
        ([["a", [0, 5]], ["a", [5, 9]]], 1, "device a has a tile of this stage already"),
        ([["a", None], ["b", [0, 9]]], 0, "rows must be given where a stage has several tiles"),
        ([["a", [3, 9]]], 0, r"rows \[0, 3\) belong to no tile"),
    ],
)
def test_tiles_must_make_every_row_once(tiles: list[list[Any]], place: int, message: str) -> None:
    values = answer_values(PLAN)
    stage = values["streams"]["camera"]["routes"][0]["stages"][1]
    stage["tiles"] = [{"device": device, "rows": rows} for device, rows in tiles]
    path = rf"\$\.streams\.camera\.routes\[0\]\.stages\[1\]\.tiles\[{place}\]\.rows"
    with pytest.raises(InvalidDocumentError, match=f"{path}: {message}"):
        read_plan(json.dumps(values))
