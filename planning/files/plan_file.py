"""Plan files: the answer of a strategy to JSON, and a plan back."""

import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from planning.files.json_document import Fault, InvalidDocumentError, faults_of
from planning.problem.plan import RAW, Constraint, CostPrediction, Infeasible, Plan, Route, Stage, StreamPlan, Tile
from planning.tiles.tiling import tile_faults
from shared.fields import Count, Index
from shared.policy import Objective, QueueDiscipline

# A later version may write more keys, so unknown ones are ignored.
_LENIENT = ConfigDict(extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, config=_LENIENT)
class TileDocument:
    """A tile: a device and rows [top, bottom) of the segment's output; null for all, where it is the only tile."""

    device: str
    rows: tuple[Index, Index] | None = None


@dataclass(frozen=True, config=_LENIENT)
class StageDocument:
    """A stage: blocks [start, stop), its tiles, and the encoding of its output when sent.

    Several tiles are on different devices, and their rows make up the whole output: no row is missing or made twice.
    """

    blocks: tuple[Index, Index]
    tiles: Annotated[tuple[TileDocument, ...], Field(min_length=1)]
    codec: str = RAW


@dataclass(frozen=True, config=_LENIENT)
class RouteDocument:
    """A route and the number of jobs that take it."""

    stages: Annotated[tuple[StageDocument, ...], Field(min_length=1)]
    jobs: Count = 1


@dataclass(frozen=True, config=_LENIENT)
class PredictionDocument:
    """The predicted cost of a plan."""

    latency_ms: float
    throughput_hz: float | None
    energy_j: float
    makespan_ms: float
    source_share: float = 0.0


@dataclass(frozen=True, config=_LENIENT)
class StreamPlanDocument:
    """The routes of a stream, and the order in which its jobs start."""

    routes: Annotated[tuple[RouteDocument, ...], Field(min_length=1)]
    order: tuple[Index, ...] = (0,)
    predicted: PredictionDocument | None = None


@dataclass(frozen=True, config=_LENIENT)
class ReasonDocument:
    """A constraint that cannot be met, and by how much."""

    constraint: Constraint
    subject: str
    message: str
    limit: float | None = None
    value: float | None = None
    excess: float | None = None


@dataclass(frozen=True, config=_LENIENT)
class PlanDocument:
    """The answer: a plan where feasible is true, reasons where it is false."""

    strategy: str
    objective: Objective
    feasible: bool
    optimal: bool = False
    cost: float | None = None
    lower_bound: float | None = None
    solve_ms: float | None = None
    predicted: PredictionDocument | None = None
    streams: dict[str, StreamPlanDocument] = Field(default_factory=dict)
    disciplines: dict[str, QueueDiscipline] = Field(default_factory=dict)
    turns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    estimated: bool = False
    proved: bool = False
    reason: str | None = None
    reasons: tuple[ReasonDocument, ...] = ()


_ADAPTER: TypeAdapter[PlanDocument] = TypeAdapter(PlanDocument)


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema of an answer."""
    schema = _ADAPTER.json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def answer_values(answer: Plan | Infeasible) -> dict[str, Any]:
    """Return the answer as plain JSON values."""
    if isinstance(answer, Infeasible):
        return {
            "strategy": answer.strategy,
            "objective": answer.objective.value,
            "feasible": False,
            "optimal": False,
            "proved": answer.proved,
            "solve_ms": answer.solve_ms,
            "reason": answer.reason,
            "reasons": [
                {
                    "constraint": violation.constraint.value,
                    "subject": violation.subject,
                    "message": violation.message,
                    "limit": violation.limit,
                    "value": violation.value,
                    "excess": violation.excess,
                }
                for violation in answer.reasons
            ],
        }
    return {
        "strategy": answer.strategy,
        "objective": answer.objective.value,
        "feasible": True,
        "optimal": answer.optimal,
        "cost": answer.cost,
        "lower_bound": answer.lower_bound,
        "solve_ms": answer.solve_ms,
        "predicted": _prediction_values(answer.predicted),
        "streams": {name: _stream_values(plan) for name, plan in answer.streams.items()},
        "disciplines": {device: discipline.value for device, discipline in answer.disciplines.items()},
        **({"turns": list(answer.turns)} if answer.turns else {}),
        **({"left_out": list(answer.left_out)} if answer.left_out else {}),
        **({"estimated": True} if answer.estimated else {}),
    }


def write_answer(answer: Plan | Infeasible) -> str:
    """Return the answer as JSON text."""
    return json.dumps(answer_values(answer), indent=1, allow_nan=False)


def read_plan(document: str | bytes) -> Plan:
    """Read a feasible answer from its JSON text.

    Raises:
        InvalidDocumentError: with every fault; an infeasible answer is one.
    """
    try:
        content = _ADAPTER.validate_json(document)
    except ValidationError as exc:
        raise InvalidDocumentError(faults_of(exc)) from exc
    if not content.feasible or content.predicted is None or content.cost is None:
        raise InvalidDocumentError((Fault("$.feasible", "the answer holds no plan"),))
    return Plan(
        strategy=content.strategy,
        objective=content.objective,
        streams={name: _stream_plan(name, plan) for name, plan in content.streams.items()},
        predicted=_prediction(content.predicted),
        cost=content.cost,
        optimal=content.optimal,
        lower_bound=content.lower_bound,
        solve_ms=content.solve_ms,
        disciplines=content.disciplines,
        turns=content.turns,
        left_out=content.left_out,
        estimated=content.estimated,
    )


def _prediction_values(predicted: CostPrediction) -> dict[str, float | None]:
    return {
        "latency_ms": predicted.latency_ms,
        "throughput_hz": predicted.throughput_hz,
        "energy_j": predicted.energy_j,
        "makespan_ms": predicted.makespan_ms,
        "source_share": predicted.source_share,
    }


def _stage_values(stage: Stage) -> dict[str, Any]:
    tiles = [{"device": tile.device, "rows": list(tile.rows) if tile.rows else None} for tile in stage.tiles]
    return {"blocks": [stage.start, stage.stop], "tiles": tiles, "codec": stage.codec}


def _stream_values(plan: StreamPlan) -> dict[str, Any]:
    values: dict[str, Any] = {
        "routes": [
            {"jobs": route.jobs, "stages": [_stage_values(stage) for stage in route.stages]} for route in plan.routes
        ],
        "order": list(plan.order),
    }
    if plan.predicted is not None:
        values["predicted"] = _prediction_values(plan.predicted)
    return values


def _prediction(document: PredictionDocument) -> CostPrediction:
    return CostPrediction(
        document.latency_ms, document.throughput_hz, document.energy_j, document.makespan_ms, document.source_share
    )


def _stream_plan(name: str, document: StreamPlanDocument) -> StreamPlan:
    faults = [
        Fault(f"$.streams.{name}.routes[{at}].stages[{index}].tiles[{place}].rows", message)
        for at, route in enumerate(document.routes)
        for index, stage in enumerate(route.stages)
        for place, message in tile_faults([Tile(tile.device, tile.rows) for tile in stage.tiles])
    ]
    if faults:
        raise InvalidDocumentError(tuple(faults))
    routes = tuple(
        Route(
            tuple(
                Stage(*stage.blocks, tuple(Tile(tile.device, tile.rows) for tile in stage.tiles), stage.codec)
                for stage in route.stages
            ),
            route.jobs,
        )
        for route in document.routes
    )
    if sorted(document.order) != list(range(sum(route.jobs for route in routes))):
        raise InvalidDocumentError((Fault(f"$.streams.{name}.order", "must name every job of the routes once"),))
    predicted = None if document.predicted is None else _prediction(document.predicted)
    return StreamPlan(routes, document.order, predicted)
