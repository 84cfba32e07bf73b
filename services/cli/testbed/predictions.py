"""Latencies of a fleet's routes, predicted with the planner's cost model under given conditions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from services.cli.testbed.conditions import Conditions
from services.planner.decisions.committed_routes import MISFITS, to_route
from services.planner.problems.allowed_encodings import offered
from services.planner.problems.tiled_planning import row_profile, row_tables
from shared.messages.calibration import Calibration
from shared.messages.devices import Profile
from shared.messages.models import Manifest
from shared.messages.streams import PlanRoute
from shared.policy import Policy

# Key of the only model of the problems made here.
MODEL_KEY: Final = "model"


@dataclass(frozen=True, slots=True)
class PredictionBasis:
    """The figures that a prediction needs beside the conditions.

    Attributes:
        manifest: the model.
        profiles: times of the model's blocks by device, measured while idle.
        source: the device at which requests arise.
        input_bytes: median size of a request's payload, a JPEG for example.
        policy: the constraints of every plan.
        calibration: encodings of feature maps; None if all travel raw.
    """

    manifest: Manifest
    profiles: Mapping[str, Profile]
    source: str
    input_bytes: int
    policy: Policy = field(default_factory=Policy)
    calibration: Calibration | None = None


def cost_model(basis: PredictionBasis, conditions: Conditions) -> CostModel:
    """Return the planner's cost model for the fleet under given conditions. Dead devices and their links are absent."""
    # A device that cannot run the model has no times.
    profiles = {name: profile for name, profile in basis.profiles.items() if profile.block_ms}
    total_ms = {name: sum(profile.block_ms) for name, profile in profiles.items()}
    fastest_ms = min(total_ms.values(), default=0.0)
    devices = {
        name: Device(
            block_ms={MODEL_KEY: profile.block_ms},
            load_factor=conditions.load.get(name, 1.0),
            segment_overhead_ms=profile.segment_overhead_ms,
            row_ms={MODEL_KEY: row_tables(profile, basis.manifest)},
            # Encodings are calibrated on this machine, which the fastest device emulates.
            codec_speed=fastest_ms / total_ms[name] if fastest_ms > 0 else 1.0,
        )
        for name, profile in profiles.items()
        if name not in conditions.dead
    }
    links = tuple(
        Link(link.between[0], link.between[1], link.bandwidth_mbps, link.latency_ms)
        for pair, link in conditions.links.items()
        if pair[0] in devices and pair[1] in devices
    )
    stream = Stream(name="stream", model=MODEL_KEY, source=basis.source)
    problem = Problem(
        models={MODEL_KEY: planning_model(basis)},
        devices=devices,
        links=links,
        streams=(stream,),
        policy=basis.policy,
    )
    return CostModel(problem)


def planning_model(basis: PredictionBasis) -> Model:
    """Return the model as the planning library describes it, with the encodings that the policy allows."""
    codecs = {} if basis.calibration is None else offered(basis.calibration, basis.policy)
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes,
            codecs=codecs.get(index, {}),
            rows=row_profile(block),
        )
        for index, block in enumerate(basis.manifest.blocks)
    )
    return Model(input_bytes=basis.input_bytes, blocks=blocks)


def route_latency_ms(model: CostModel, route: Route) -> float | None:
    """Return the latency of a request that is alone; None if a device or a link of the route is absent."""
    try:
        return model.latency_ms(model.problem.streams[0], route)
    except MISFITS:
        return None


def predict_ms(basis: PredictionBasis, conditions: Conditions, routes: Iterable[PlanRoute]) -> float | None:
    """Return the mean latency of requests that are alone, over routes by weight; None if one of them cannot run."""
    model = cost_model(basis, conditions)
    weights, total_ms = 0, 0.0
    for route in routes:
        latency_ms = route_latency_ms(model, to_route(route))
        if latency_ms is None:
            return None
        weights, total_ms = weights + route.weight, total_ms + route.weight * latency_ms
    return total_ms / weights if weights else None
