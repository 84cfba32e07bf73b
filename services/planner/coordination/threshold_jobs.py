"""Thresholds of plans in force: when they are computed, and what follows from them. No I/O, no clock."""

from planning.problem.problem import Problem
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import Effect, retained
from services.planner.coordination.stream_record import StreamRecord
from services.planner.coordination.stream_records import StreamRecords
from services.planner.decisions.damping import recent
from services.planner.decisions.switching_ranges import Survey, is_news, warm_segments
from services.planner.problems.snapshot import FleetSnapshot
from shared.bus import topics
from shared.messages.alternatives import Alternatives

SURVEY_EVERY_S = 2.0
"""Pause between two computations of a plan's thresholds."""


def next_survey(streams: StreamRecords, snapshot: FleetSnapshot, now_s: float) -> Survey | None:
    """Return a plan whose thresholds are to be computed: one in force since its problem has changed.

    Streams that are planned together have none: where one route pays depends on those of the others.
    """
    for stream, record in streams.records.items():
        if record.epochs.phase is not ep.EpochPhase.RUNNING or now_s < record.survey_at_s:
            continue
        problem, plan = streams.problem(stream, snapshot, now_s), record.epochs.committed
        if not isinstance(problem, Problem) or len(problem.streams) > 1:
            continue
        if plan is None or plan.model != problem.streams[0].model:
            continue
        busy_shares = streams.circumstances(stream, snapshot, now_s).busy_shares
        wanted = Survey(plan, problem, busy_shares, recent(record.departures, now_s))
        if wanted != record.surveyed:
            record.surveyed, record.survey_at_s = wanted, now_s + SURVEY_EVERY_S
            return wanted
    return None


def surveyed(
    streams: StreamRecords, asked: Survey, alternatives: Alternatives, snapshot: FleetSnapshot, now_s: float
) -> list[Effect]:
    """Publish the thresholds of a plan if they are news, and have the next likely segments kept ready."""
    record = streams.records[asked.plan.stream]
    manifest = snapshot.manifests.get(asked.plan.model)
    if record.epochs.committed is not asked.plan or record.epochs.proposal is not None or manifest is None:
        return []
    warm = warm_segments(asked.plan, alternatives, manifest, asked.problem)
    effects = streams.advance(record, ep.KeepWarm(warm, manifest), snapshot, now_s)
    if not is_news(record.alternatives, alternatives):
        return effects
    record.alternatives = alternatives
    return [*effects, retained(topics.alternatives(asked.plan.stream), alternatives)]


def without_thresholds(record: StreamRecord) -> list[Effect]:
    """Take back the thresholds of a stream that is planned together with others from now on."""
    known, record.surveyed = record.alternatives, None
    if known is None or not known.thresholds:
        return []
    record.alternatives = known.model_copy(update={"thresholds": ()})
    return [retained(topics.alternatives(record.epochs.stream), record.alternatives)]
