"""Which problem is solved for a stream: its own, or that of all streams it is planned together with. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from planning.problem.problem import Problem
from services.planner.coordination.stream_record import StreamRecord
from services.planner.problems import profile_requests
from services.planner.problems.groups import group_of
from services.planner.problems.planning_jobs import PlanningJob
from services.planner.problems.problem_from_snapshot import Circumstances, Exclusion, build_problem
from services.planner.problems.readiness import Waiting, missing
from services.planner.problems.sharing import busy_shares, held_bytes
from services.planner.problems.snapshot import FleetSnapshot, PolicySet, apply
from shared.messages.streams import CommittedPlan

Records = Mapping[str, StreamRecord]


def pose(
    stream: str,
    records: Records,
    exclusions: Sequence[Exclusion],
    snapshot: FleetSnapshot,
    measurements: profile_requests.Measurements,
    now_s: float,
) -> PlanningJob | Waiting | None:
    """Return what is to be solved for a stream and those that are planned with it, or what the stream waits for.

    Those that cannot be planned yet are left out. Nothing is solved while a proposal of one of them is under way,
    unless a policy waits to be judged.

    Args:
        stream: which is to be planned; a policy that it waits for is taken to be in force.
        records: of all streams.
        exclusions: choices that devices have rejected lately.
        snapshot: the present view.
        measurements: which profiles are missing, for the sake of first plans.
        now_s: planner's clock.
    """
    record = records[stream]
    if not record.declared:
        return Waiting(("the stream is not declared",))
    request = record.pending
    if request is not None:
        snapshot = apply(snapshot, PolicySet(stream, request.policy), now_s)
    waiting = {name: _missing(name, records, snapshot, measurements, now_s) for name in group_of(stream, snapshot)}
    own = waiting[stream]
    if own is not None:
        return own
    ready = tuple(name for name, reasons in waiting.items() if reasons is None)
    if request is None and any(records[name].epochs.proposal is not None for name in ready):
        return None
    circumstances = circumstances_of(ready, records, exclusions, snapshot, now_s)
    return PlanningJob(
        stream if request is not None else ready[0],
        build_problem(snapshot, ready, circumstances),
        build_problem(snapshot, ready, replace(circumstances, exclusions=())),
        {name: snapshot.policy(name) for name in ready},
        request,
    )


def present_problem(
    stream: str, records: Records, exclusions: Sequence[Exclusion], snapshot: FleetSnapshot, now_s: float
) -> Problem | Waiting | None:
    """Return the problem in which a stream is planned now, or what it waits for; None if it is not declared."""
    if stream not in snapshot.streams:
        return None
    waiting = missing(snapshot, stream)
    if waiting is not None:
        return waiting
    ready = tuple(name for name in group_of(stream, snapshot) if missing(snapshot, name) is None)
    return build_problem(snapshot, ready, circumstances_of(ready, records, exclusions, snapshot, now_s))


def circumstances_of(
    streams: Collection[str], records: Records, exclusions: Sequence[Exclusion], snapshot: FleetSnapshot, now_s: float
) -> Circumstances:
    """Return what bears on the problem of these streams: what others take, and what was rejected."""
    plans = {name: record.epochs.committed for name, record in records.items()}
    others = [plan for name, plan in plans.items() if name not in streams and plan is not None]
    own = {name: _held([plan], snapshot) for name in streams if (plan := plans.get(name)) is not None}
    return Circumstances(
        now_s, _held(others, snapshot), busy_shares(others, snapshot, now_s), tuple(exclusions), members_bytes=own
    )


def _held(plans: Sequence[CommittedPlan], snapshot: FleetSnapshot) -> dict[str, float]:
    manifests = ((snapshot.manifests.get(plan.model), plan.routes) for plan in plans)
    return held_bytes((manifest, routes) for manifest, routes in manifests if manifest is not None)


def _missing(
    stream: str, records: Records, snapshot: FleetSnapshot, measurements: profile_requests.Measurements, now_s: float
) -> Waiting | None:
    """Return what a stream waits for; a first plan waits for devices that measure."""
    record = records.get(stream)
    manifest = snapshot.resolve(snapshot.streams[stream].model)
    is_first = record is None or record.epochs.committed is None
    wanted = is_first and manifest is not None
    measuring = (
        profile_requests.measuring(measurements, manifest.model, now_s) if wanted and manifest is not None else ()
    )
    return missing(snapshot, stream, measuring)
