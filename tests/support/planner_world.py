"""Snapshots, problems and plans of a small fleet, for the planner's pure parts."""

from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.strategies import solve
from services.planner.decisions.candidates import Candidate, PlanInForce
from services.planner.decisions.committed_routes import burst_jobs, to_message
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem
from services.planner.problems.snapshot import Change, FleetSnapshot, PolicySet, apply
from shared.messages.devices import Capabilities, LinkEstimate, Links, Presence, Profile, State, Telemetry
from shared.messages.streams import PlanRoute, PlanStage, StreamDeclaration
from shared.policy import Policy
from tests.support.planner_fleet import MODEL, manifest_of

PI_MS = (5.0, 40.0, 40.0, 40.0, 40.0)
SERVER_MS = (1.0, 5.0, 5.0, 5.0, 5.0)


def presence(device: str, state: State = State.ONLINE, boot_id: str = "boot1", **capabilities: object) -> Presence:
    return Presence(device=device, state=state, boot_id=boot_id, capabilities=Capabilities(**capabilities))


def profile(device: str, block_ms: tuple[float, ...], model: str = MODEL) -> Profile:
    return Profile(device=device, model=model, block_ms=block_ms)


def link(source: str, target: str, mbps: float, *, latency_ms: float = 2.0, at_s: float = 100.0) -> Links:
    estimate = LinkEstimate(target=target, bandwidth_mbps=mbps, latency_ms=latency_ms)
    return Links(device=source, sent_at_s=at_s, links=(estimate,))


def load(device: str, factor: float, at_s: float = 100.0) -> Telemetry:
    return Telemetry(device=device, sent_at_s=at_s, load_factor=factor)


def declaration(stream: str = "camera", **fields: object) -> StreamDeclaration:
    return StreamDeclaration(**{"stream": stream, "model": "net", "source": "pi", **fields})


def after(snapshot: FleetSnapshot, *changes: Change, now_s: float = 100.0) -> FleetSnapshot:
    for change in changes:
        snapshot = apply(snapshot, change, now_s)
    return snapshot


def world(*changes: Change, mbps: float = 50.0) -> FleetSnapshot:
    """Return `pi` with a camera and a fast `server`, linked, both profiled; 39 ms on the server, 165 ms on the pi."""
    return after(
        FleetSnapshot(),
        presence("pi"),
        presence("server"),
        profile("pi", PI_MS),
        profile("server", SERVER_MS),
        link("pi", "server", mbps),
        link("server", "pi", mbps),
        manifest_of(),
        declaration(),
        *changes,
    )


def problem_of(snapshot: FleetSnapshot, stream: str = "camera", now_s: float = 100.0) -> Problem:
    return build_problem(snapshot, (stream,), Circumstances(now_s, {}))


def candidate_of(problem: Problem, *, live: bool = False) -> Candidate:
    plan = solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(plan, Plan), plan
    routes = to_message(problem, plan.streams[problem.streams[0].name])
    return Candidate(problem, problem.policy, routes, plan.strategy, live)


def in_force_for(problem: Problem, routes: tuple[PlanRoute, ...] | None = None, epoch: int = 1) -> PlanInForce:
    stream = problem.streams[0]
    chosen = candidate_of(problem).routes if routes is None else routes
    return PlanInForce(epoch, stream.model, stream.source, False, chosen, problem.policy, problem, burst_jobs(problem))


def route(*stages: tuple[int, int, str], weight: int = 1) -> PlanRoute:
    return PlanRoute(
        stages=tuple(PlanStage(start=start, stop=stop, device=device) for start, stop, device in stages), weight=weight
    )


CAMERAS = ("east", "north", "west")
# Computing times of a server that is not much faster than the cameras: 100 ms against 165 ms.
SHARED_MS = (4.0, 24.0, 24.0, 24.0, 24.0)


def cameras(policy: Policy | None = None, *names: str, mbps: float = 50.0) -> FleetSnapshot:
    """Return cameras with a stream each, and the one server that all are linked to; 118 ms on the idle server."""
    snapshot = after(FleetSnapshot(), manifest_of(), presence("server"), profile("server", SHARED_MS))
    for name in names or CAMERAS:
        snapshot = after(
            snapshot,
            presence(name),
            profile(name, PI_MS),
            link(name, "server", mbps),
            declaration(name, source=name),
            *(() if policy is None else (PolicySet(name, policy),)),
        )
    return snapshot
