"""Core of the planner: takes events and returns effects. It has no clock, no tasks, and does no I/O.

The package's docstring has the table of events, state changes and effects.
"""

from collections.abc import Collection, Iterable

from services.planner.coordination import epoch_events as ev
from services.planner.coordination.apply_answer import carry_out, conclude
from services.planner.coordination.device_messages import DeviceMessages
from services.planner.coordination.effects import (
    DeleteDocument,
    Effect,
    FetchModel,
    Persist,
    Publish,
    announcement,
    cleared,
    command,
    retained,
)
from services.planner.coordination.fleet_state import FleetState
from services.planner.coordination.planned_stream import PlannedStream
from services.planner.coordination.planned_streams import PlannedStreams
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.planning_view import PlanningView
from services.planner.coordination.policy_judgement import PolicyJudge
from services.planner.coordination.restore import adopted, restore
from services.planner.coordination.threshold_jobs import next_threshold_job, thresholds_found
from services.planner.decisions.switching_ranges import ThresholdJob
from services.planner.inbound import Inbound, PolicyDocument
from services.planner.problems.groups import group_of
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.policies import PolicyRefusal
from services.planner.problems.readiness import Waiting
from services.planner.problems.snapshot import FleetSnapshot, ModelWithdrawn, VersionWithdrawn
from shared.bus import topics
from shared.messages.alternatives import Alternatives
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration
from shared.messages.events import EventKind
from shared.messages.explanations import Question
from shared.messages.models import Manifest, ModelVersion, Offer
from shared.messages.plan_checks import plan_misfit
from shared.messages.streams import CommittedPlan, StreamDeclaration

# Retained messages arrive right after a connection; nothing is planned or published again before they have.
SETTLE_S = 0.5
# Time after a restart during which a restored plan stays, although its devices have not published their presence.
RESTORE_GRACE_S = 10.0
# Period after which every stream is planned even if no message has come: telemetry goes stale, cooldowns end.
REVIEW_EVERY_S = 5.0
# Pause after a strategy has raised an exception.
RETRY_AFTER_S = 5.0


class ForeignPlan(MessageError):
    """A plan that this planner has not signed."""


class Coordinator:
    """Router of events to the owners of the planner's state. Every public method returns effects in order.

    Attributes:
        name: of the planner.
        fleet: devices, links and models.
        streams: every stream.
    """

    def __init__(self, name: str, strategies: Collection[str], started_at_s: float, public_key: str = "") -> None:
        """Start with an empty state.

        Args:
            name: of the planner; origin of events, provider of models.
            strategies: names that policies may ask for.
            started_at_s: planner's clock.
            public_key: of the planner's signatures; empty if it does not sign.
        """
        self.name = name
        self.fleet = FleetState()
        self.streams = PlannedStreams(name)
        self._devices = DeviceMessages(name, public_key, self.fleet, self.streams)
        self._policies = PolicyJudge(self.fleet, self.streams, strategies)
        self._started_at_s = started_at_s
        self._settled_at_s = started_at_s
        self._reviewed_at_s = started_at_s

    @property
    def snapshot(self) -> FleetSnapshot:
        """The present view of devices, links, models, streams and policies."""
        return self.fleet.snapshot

    @property
    def due_at_s(self) -> float:
        """Time of the next `tick` or `next_job` that has something to do, if no message comes before."""
        # Nothing is due before the retained messages have arrived.
        planning_at_s = max(self._settled_at_s, self.streams.next_due_at_s)
        review_at_s = self._reviewed_at_s + REVIEW_EVERY_S
        return min(planning_at_s, self.streams.responses.due_at_s, self.fleet.next_request_at_s, review_at_s)

    def restore(self, documents: Iterable[Document], now_s: float) -> None:
        """Take the state that was written before a restart."""
        restored = restore(documents, self.name)
        for change in restored.changes:
            self.fleet.restore(change, now_s)
        self.fleet.number_versions(now_s)
        self.streams.restore(restored.states.values())
        self.streams.replan_all(now_s)

    def connected(self, now_s: float) -> None:
        """Wait for retained messages before the next job."""
        self._settled_at_s = now_s + SETTLE_S

    def republished(self) -> list[Effect]:
        """Return every retained message that this planner owns."""
        effects = self.fleet.republished()
        for state in self.streams:
            declaration = self.snapshot.streams.get(state.name)
            if declaration is not None:
                effects.append(retained(topics.stream(state.name), declaration))
            effects += state.republished()
        return effects

    def handle(self, message: Inbound, now_s: float, *, own: bool = False) -> list[Effect]:
        """Take a message.

        Args:
            message: as decoded.
            now_s: planner's clock.
            own: the planner has published it itself, perhaps before a restart.

        Raises:
            MessageError: a plan that contradicts what is known of its stream and its model.
            ForeignPlan: a plan that this planner has not signed. Its epoch is remembered: later plans are above it.
        """
        return self._handle(message, now_s, own) + self.streams.changed_statuses()

    def tick(self, now_s: float) -> list[Effect]:
        """Handle timeouts, requests for profiles, and the periodic review."""
        effects = self.fleet.write_field_records(now_s)
        effects += self.streams.advance_all(ev.EpochTicked(), now_s)
        effects += self._devices.expire(now_s)
        self.streams.expire_exclusions(now_s)
        if now_s >= self._reviewed_at_s + REVIEW_EVERY_S:
            self._reviewed_at_s = now_s
            self.streams.replan_all(now_s)
        effects += self.fleet.request_profiles(now_s)
        return effects + self.streams.changed_statuses()

    def next_job(self, now_s: float) -> tuple[list[Effect], PlanningJob | None]:
        """Return the next problem to solve, if any.

        A problem whose answer is stored is not returned: that answer is applied.
        """
        effects: list[Effect] = []
        if now_s < self._settled_at_s:
            return effects, None
        for stream in self.streams.take_due(now_s):
            # Heartbeats make streams due whose problem is unchanged. The stored answer saves a run of the strategy.
            job = self._job(stream, now_s)
            if job is None:
                # A policy of a stream that cannot be planned yet cannot be judged either: it is taken as it is.
                effects += self._policies.accept(stream, now_s)
                continue
            answer = self.streams[job.stream].answer_to(job.problem) if job.request is None else None
            if answer is None:
                return effects + self.streams.changed_statuses(), job
            effects += self._conclude(job, answer, now_s)
        return effects + self.streams.changed_statuses(), None

    def answered(self, job: PlanningJob, answer: Answer, now_s: float) -> list[Effect]:
        """Take the answer to a job."""
        if job.request is None:
            effects = self._conclude(job, answer, now_s)
        else:
            effects = self._policies.answered(job, answer, now_s)
        return effects + self.streams.changed_statuses()

    def failed(self, job: PlanningJob, reason: str, now_s: float) -> list[Effect]:
        """Take the exception that a strategy has raised instead of an answer."""
        text = f"stream {', '.join(job.streams)}: strategy {job.policy.strategy} failed: {reason}"
        effects: list[Effect] = [self._event(EventKind.FAILURE, text, now_s, stream=job.stream)]
        if job.request is not None and job.request is self.streams[job.stream].policy.request:
            effects += self._policies.refuse(job.stream, PolicyRefusal(job.request.revision, (text,)), now_s)
        else:
            for stream in job.streams:
                self.streams[stream].findings.strategy_failed(text)
            self.streams.replan(job.stream, now_s + RETRY_AFTER_S)
        return effects + self.streams.changed_statuses()

    def next_threshold_job(self, now_s: float) -> ThresholdJob | None:
        """Return a plan whose thresholds are to be computed. Called when there is nothing to plan."""
        return next_threshold_job(self._view(now_s)) if now_s >= self._settled_at_s else None

    def thresholds_found(self, job: ThresholdJob, alternatives: Alternatives, now_s: float) -> list[Effect]:
        """Take the thresholds of a plan."""
        return self.streams.perform(thresholds_found(job, alternatives, self._view(now_s)), now_s)

    def model_stored(self, manifest: Manifest, now_s: float) -> list[Effect]:
        """Take a model whose file has arrived in the library."""
        effects = self.fleet.model_stored(manifest, now_s, self._versions_in_use())
        self.streams.replan_all(now_s)
        return effects + self.streams.changed_statuses()

    def model_failed(self, manifest: Manifest, reason: str, now_s: float) -> list[Effect]:
        """Announce that a model could not be fetched into the library."""
        return [self._event(EventKind.FAILURE, f"model {manifest.name} is not in the library: {reason}", now_s)]

    def message_dropped(self, text: str, now_s: float) -> list[Effect]:
        """Announce that a message was refused."""
        return [self._event(EventKind.BAD_MESSAGE, text, now_s)]

    def is_outdated(self, plan: CommittedPlan) -> bool:
        """Return whether a plan is one of the past, which this planner has replaced or revoked."""
        state = self.streams.get(plan.stream)
        if state is None or plan.epoch > state.epochs.last_epoch:
            return False
        committed = state.epochs.committed
        return committed is None or plan.epoch < committed.epoch

    def overwritten(self, topic: str) -> list[Publish]:
        """Return the planner's own retained message of a topic on which another one was refused.

        The broker may have kept the refused one in its place. A plan is the planner's alone: where there is none, the
        topic is cleared. On topics of others this returns nothing.
        """
        match topic.split("/"):
            case ["streams", stream, *_]:
                state = self.streams.get(stream)
                own = [] if state is None else state.republished()
                if (declaration := self.snapshot.streams.get(stream)) is not None:
                    own.append(retained(topics.stream(stream), declaration))
                if not any(effect.topic == topic for effect in own if isinstance(effect, Publish)):
                    own += [cleared(topic)] if topic == topics.plan(stream) else []
            case ["models", _] | ["models", _, "versions", _]:
                own = self.fleet.republished()
            case _:
                own = []
        return [effect for effect in own if isinstance(effect, Publish) and effect.topic == topic]

    def validate(self) -> None:
        """Check the invariants of all owners, which their classes list. Tests call it after every event.

        Raises:
            InvariantError: one is broken.
        """
        self.fleet.validate()
        self.streams.validate(self.snapshot)

    def _handle(self, message: Inbound, now_s: float, own: bool) -> list[Effect]:
        match message:
            case Calibration():
                self.streams.replan_all(now_s)
                return self.fleet.calibration_seen(message, now_s, own=own)
            case Manifest() | ModelWithdrawn():
                effects = self.fleet.manifest_seen(message, now_s, own=own)
                if effects is not None:
                    self.streams.replan_all(now_s)
                return effects or []
            case ModelVersion() | VersionWithdrawn():
                return self.fleet.version_seen(message, now_s, self._versions_in_use(), own=own)
            case Offer(manifest=manifest, provider=provider):
                return [FetchModel(manifest.model_copy(update={"provider": self.name}), provider)]
            case StreamDeclaration():
                return self._declaration(message, now_s, own)
            case PolicyDocument():
                return self._policies.requested(message, now_s, own=own)
            case CommittedPlan():
                return self._plan_seen(message, now_s, own)
            case Question(stream=stream, asker=asker):
                return [command(topics.explanations(stream, asker), self._view(now_s).explanation(message))]
            case _:
                return self._devices.received(message, now_s)

    def _versions_in_use(self) -> set[str]:
        """Return the versions of models that streams keep, run or prepare."""
        epochs = [state.epochs for state in self.streams]
        plans = [each.committed for each in epochs] + [each.proposal.plan for each in epochs if each.proposal]
        kept = {declaration.version for declaration in self.snapshot.streams.values()}
        return (kept | {plan.version for plan in plans if plan is not None}) - {""}

    def _plan_seen(self, plan: CommittedPlan, now_s: float, own: bool) -> list[Effect]:
        stream, snapshot = plan.stream, self.snapshot
        declaration = snapshot.streams.get(stream)
        declared_model = "" if declaration is None else declaration.model
        misfit = plan_misfit(plan, snapshot.described, declared_model, now_s)
        if misfit is not None:
            raise MessageError(misfit)
        state = self.streams.of(stream)
        if not own:
            state.epoch_restored(plan.epoch)
            raise ForeignPlan("this planner has not signed it")
        return self.streams.perform(state.plan_seen(plan, adopted(plan, snapshot.policy(stream)), now_s), now_s)

    def _declaration(self, message: StreamDeclaration, now_s: float, own: bool) -> list[Effect]:
        stream = message.stream
        known = self.snapshot.streams.get(stream)
        # The planner's own declaration is new to it only after the database was lost; its own removal of one never
        # is.
        if (own and (known is not None or not message.model)) or message == known:
            return []
        if not message.model:
            return self._withdraw(message, now_s) if known is not None else []
        state = self.streams.of(stream)
        state.declare()
        self.fleet.apply(message, now_s)
        self.streams.replan_all(now_s)
        effects: list[Effect] = [Persist(Document(Kind.STREAM, stream, message.encode()))]
        return effects + self.streams.perform(state.abandon(now_s), now_s)

    def _withdraw(self, message: StreamDeclaration, now_s: float) -> list[Effect]:
        stream = message.stream
        self.fleet.apply(message, now_s)
        effects = self.streams.withdraw(stream, now_s)
        self.streams.replan_all(now_s)
        return [
            DeleteDocument(Kind.STREAM, stream),
            DeleteDocument(Kind.POLICY, stream),
            *effects,
            *(cleared(topic(stream)) for topic in (topics.stream, topics.policy, topics.status)),
        ]

    def _conclude(self, job: PlanningJob, answer: Answer, now_s: float) -> list[Effect]:
        self.streams[job.stream].solved(job.problem, answer)
        return carry_out(conclude(job, answer, self._view(now_s)), self.streams, now_s)

    def _job(self, stream: str, now_s: float) -> PlanningJob | None:
        """Return the job that plans a stream; None if it has to wait (its findings say why), or has a proposal."""
        state = self.streams[stream]
        group = (stream,) if state.policy.request is not None else group_of(stream, self.snapshot)
        if any(self._awaits_devices(self.streams[member], now_s) for member in group):
            self.streams.replan(stream, now_s + SETTLE_S)
            return None
        view = self._view(now_s)
        posed = view.job(stream)
        if isinstance(posed, Waiting):
            state.findings.readiness_found(posed.reasons, is_refused=posed.is_refused)
        else:
            state.findings.readiness_found((), measuring=view.still_measuring(stream))
        if not isinstance(posed, PlanningJob):
            return None
        if posed.request is None:
            self.streams.planned(posed.streams)
        return posed

    def _awaits_devices(self, state: PlannedStream, now_s: float) -> bool:
        """Return whether, shortly after the planner's start, presence of devices in a restored plan is missing."""
        return now_s < self._started_at_s + RESTORE_GRACE_S and bool(state.unheard_devices(self.snapshot))

    def _view(self, now_s: float) -> PlanningView:
        return PlanningView(
            self.streams.by_name(),
            self.streams.exclusions,
            self.snapshot,
            self.fleet.measurements,
            now_s,
            self.streams.corrections,
        )

    def _event(self, kind: EventKind, text: str, now_s: float, **details: object) -> Effect:
        return announcement(self.name, kind, text, now_s, **details)
