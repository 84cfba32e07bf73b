"""View of the planner's state from which problems are built: the fleet and every stream, at one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from planning.files.problem_file import write_problem
from planning.problem.problem import Problem
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.problems.corrections import NO_CORRECTIONS, Corrections
from services.planner.problems.groups import group_of
from services.planner.problems.planning_jobs import PlanningJob
from services.planner.problems.problem_from_snapshot import Circumstances, Exclusion, build_problem
from services.planner.problems.profile_requests import LONGEST_REPEAT_S, Measurements, measuring
from services.planner.problems.readiness import Waiting, missing
from services.planner.problems.sharing import busy_shares, held_bytes
from services.planner.problems.snapshot import FleetSnapshot, PolicySet, apply
from services.planner.problems.tiled_planning import tile_notes
from shared.messages.explanations import Explanation, Question
from shared.messages.streams import CommittedPlan

# Bound on the problem in an explanation. A message may have twice as many bytes.
MAX_PROBLEM_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlanningView:
    """Read-only view of all state on which the problem of a stream depends, made once per event.

    Attributes:
        states: of all streams.
        exclusions: choices that devices have rejected lately.
        snapshot: of the fleet.
        measurements: profiles that are missing, for which a first plan waits.
        now_s: planner's clock.
        corrections: of the cost model.
    """

    states: Mapping[str, PlannedStream]
    exclusions: Sequence[Exclusion]
    snapshot: FleetSnapshot
    measurements: Measurements
    now_s: float
    corrections: Corrections = NO_CORRECTIONS

    def job(self, stream: str) -> PlanningJob | Waiting | None:
        """Return the job that plans a stream and those of its group, or what the stream waits for.

        Streams of the group that cannot be planned yet are left out. A policy that the stream waits for counts as in
        force, so that it is judged in the group that it would join. Without such a policy, nothing is solved while a
        stream of the group has a proposal. The answer would be out of date when that proposal ends.
        """
        state = self.states[stream]
        if not state.is_declared:
            return Waiting(("the stream is not declared",))
        request, snapshot = state.policy.request, self.snapshot
        if request is not None:
            snapshot = apply(snapshot, PolicySet(stream, request.policy), self.now_s)
        # The group is that of the policy under judgement, which can differ from the present one.
        judged = replace(self, snapshot=snapshot)
        waiting = {name: judged._missing(name) for name in group_of(stream, snapshot)}
        own = waiting[stream]
        if own is not None:
            return own
        ready = tuple(name for name, reasons in waiting.items() if reasons is None)
        if request is None and any(self.states[name].epochs.proposal is not None for name in ready):
            return None
        circumstances = judged.circumstances(ready)
        return PlanningJob(
            # The group has one answer, kept by its first stream, whichever of its streams was due.
            stream if request is not None else ready[0],
            build_problem(snapshot, ready, circumstances),
            build_problem(snapshot, ready, replace(circumstances, exclusions=())),
            {name: snapshot.policy(name) for name in ready},
            request,
        )

    def problem(self, stream: str) -> Problem | Waiting | None:
        """Return the problem in which a stream is planned now, or what it waits for; None if it is not declared."""
        if stream not in self.snapshot.streams:
            return None
        waiting = missing(self.snapshot, stream)
        if waiting is not None:
            return waiting
        ready = tuple(name for name in group_of(stream, self.snapshot) if missing(self.snapshot, name) is None)
        return build_problem(self.snapshot, ready, self.circumstances(ready))

    def circumstances(self, streams: Collection[str]) -> Circumstances:
        """Return the circumstances of a problem: memory and time that other streams take, and rejected choices."""
        plans = {name: state.epochs.committed for name, state in self.states.items()}
        others = [plan for name, plan in plans.items() if name not in streams and plan is not None]
        # Two streams that leave a device at the same time would meet on the next one.
        coming = [
            plan for name, state in self.states.items() if name not in streams and (plan := state.coming) is not None
        ]
        own = {name: self._held_bytes([plan]) for name in streams if (plan := plans.get(name)) is not None}
        return Circumstances(
            self.now_s,
            self._held_bytes(others),
            busy_shares(coming, self.snapshot, self.now_s),
            tuple(self.exclusions),
            members_bytes=own,
            corrections=self.corrections,
        )

    def explanation(self, question: Question) -> Explanation:
        """Return the present problem of a stream as a problem file, or the reasons why there is none."""
        state, problem = self.states.get(question.stream), self.problem(question.stream)
        answer = Explanation(stream=question.stream, asker=question.asker)
        if state is not None:
            epoch = 0 if state.epochs.committed is None else state.epochs.committed.epoch
            answer = answer.model_copy(update={"epoch": epoch, "reroutes": state.reroutes})
        if problem is None:
            return answer.model_copy(update={"reasons": (f"there is no stream {question.stream}",)})
        if isinstance(problem, Waiting):
            return answer.model_copy(update={"reasons": problem.reasons})
        text = write_problem(problem)
        size_bytes = len(text.encode())
        if size_bytes > MAX_PROBLEM_BYTES:
            reason = f"the problem has {size_bytes} bytes, more than may be sent ({MAX_PROBLEM_BYTES})"
            return answer.model_copy(update={"reasons": (reason,)})
        return answer.model_copy(update={"problem": text, "notes": tile_notes(self.snapshot, question.stream)})

    def _held_bytes(self, plans: Sequence[CommittedPlan]) -> dict[str, float]:
        manifests = ((self.snapshot.manifest_under(plan), plan.routes) for plan in plans)
        return held_bytes((manifest, routes) for manifest, routes in manifests if manifest is not None)

    def still_measuring(self, stream: str) -> tuple[str, ...]:
        """Return the devices that have not answered yet whether they can run the stream's model."""
        manifest = self.snapshot.manifest_of(self.snapshot.streams[stream])
        if manifest is None:
            return ()
        return tuple(sorted(measuring(self.measurements, manifest, self.now_s, waits_s=LONGEST_REPEAT_S)))

    def _missing(self, stream: str) -> Waiting | None:
        """Return what a stream waits for; only a first plan waits for devices that measure its model."""
        state = self.states.get(stream)
        manifest = self.snapshot.manifest_of(self.snapshot.streams[stream])
        is_first = state is None or state.epochs.committed is None
        if not is_first or manifest is None:
            return missing(self.snapshot, stream)
        return missing(self.snapshot, stream, measuring(self.measurements, manifest, self.now_s))
