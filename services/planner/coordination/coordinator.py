"""The planner's core: takes what is heard and returns what to do. No I/O, no clock, no tasks."""

from collections.abc import Collection, Iterable

from services.planner.coordination import epochs as ep
from services.planner.coordination.apply_answer import conclude
from services.planner.coordination.device_answers import epoch_event
from services.planner.coordination.effects import (
    DeleteDocument,
    Effect,
    FetchModel,
    Persist,
    Publish,
    cleared,
    command,
    retained,
)
from services.planner.coordination.explaining import explain
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.republishing import owned
from services.planner.coordination.restore import adopted, restore
from services.planner.coordination.shadow_reports import FieldRecordKeeper, withdrawn
from services.planner.coordination.stream_record import PolicyVerdict, StreamRecord
from services.planner.coordination.stream_records import RETRY_AFTER_S, StreamRecords
from services.planner.coordination.threshold_jobs import next_survey, surveyed
from services.planner.decisions.committed_routes import TILED, devices_of, is_tiled
from services.planner.decisions.switching_ranges import Survey
from services.planner.inbound import Inbound, PolicyDocument
from services.planner.problems import profile_requests
from services.planner.problems.groups import group_of
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.policies import PolicyRefusal, read_request, request_document, reservations
from services.planner.problems.snapshot import FieldRecordRestored, FleetSnapshot, ModelWithdrawn, PolicySet, apply
from shared.bus import topics
from shared.messages.alternatives import Alternatives
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.control import Preparing, ProfileFailed, ProfileModel, Ready, Rejected
from shared.messages.devices import Links, Presence, Profile, State, Telemetry
from shared.messages.events import EventKind
from shared.messages.explanations import Question
from shared.messages.models import Manifest, Offer
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage

SETTLE_S = 0.5
"""After connecting, retained messages come first; nothing is planned or published again before."""
RESTORE_PATIENCE_S = 10.0
"""How long a plan of an earlier life is left alone while its devices have not been heard of."""
REVIEW_EVERY_S = 5.0
"""Streams are looked at that often even if nothing is heard: telemetry goes stale, patience ends."""


class Coordinator:
    """The state of the planner, and how it changes. Every method returns effects to be performed in order."""

    def __init__(self, name: str, strategies: Collection[str], started_at_s: float) -> None:
        """Know nothing yet.

        Args:
            name: of the planner; origin of events, provider of models.
            strategies: names that policies may ask for.
            started_at_s: wall clock.
        """
        self.name = name
        self.snapshot = FleetSnapshot()
        self.streams = StreamRecords(name)
        self._strategies = strategies
        self._started_at_s = started_at_s
        self._settled_at_s = started_at_s
        self._reviewed_at_s = started_at_s
        self._measurements: profile_requests.Measurements = {}
        self._library: set[str] = set()
        self._field = FieldRecordKeeper()

    @property
    def due_at_s(self) -> float:
        """When `tick` and `next_job` have something to do, if nothing is heard before."""
        planning = max(self._settled_at_s, min(self.streams.due.values(), default=float("inf")))
        planning = min(planning, self.streams.silence.due_at_s)
        return min(planning, profile_requests.next_due_s(self._measurements), self._reviewed_at_s + REVIEW_EVERY_S)

    def restore(self, documents: Iterable[Document], now_s: float) -> None:
        """Take back what an earlier life has kept."""
        restored = restore(documents)
        for change in restored.changes:
            if isinstance(change, FieldRecordRestored):
                self._field.restored(change)
            self.snapshot = apply(self.snapshot, change, now_s)
        self._library |= restored.library
        self.streams.records.update(restored.records)
        self.streams.mark_all(now_s)

    def connected(self, now_s: float) -> None:
        """Hear retained messages before planning."""
        self._settled_at_s = now_s + SETTLE_S

    def retained(self) -> list[Effect]:
        """Publish everything that this planner owns on the bus."""
        return owned(self.snapshot, self._library, self.streams.records)

    def handle(self, message: Inbound, now_s: float, *, own: bool = False) -> list[Effect]:
        """Take a message.

        Args:
            message: as decoded.
            now_s: wall clock.
            own: the planner has published it itself, perhaps in an earlier life.
        """
        effects = self._handle(message, now_s, own)
        return effects + self.streams.statuses()

    def tick(self, now_s: float) -> list[Effect]:
        """Let time pass: timeouts, measurements that are missing, a look at everything now and then."""
        effects = self._field.take_due(self.snapshot, now_s)
        for record in self.streams.records.values():
            effects += self.streams.advance(record, ep.EpochTicked(), self.snapshot, now_s)
        for device in self.streams.silence.take_due(now_s):
            gone = Presence(device=device, state=State.OFFLINE, boot_id=self.snapshot.device(device).boot_id)
            effects += [retained(topics.presence(device), gone), *self._presence(gone, now_s, "does not answer")]
        self.streams.expire_exclusions(now_s)
        if now_s >= self._reviewed_at_s + REVIEW_EVERY_S:
            self._reviewed_at_s = now_s
            self.streams.mark_all(now_s)
        self._measurements, due = profile_requests.take_due(self._measurements, now_s)
        for device, model in due:
            effects.append(command(topics.commands(device), ProfileModel(manifest=self.snapshot.manifests[model])))
        return effects + self.streams.statuses()

    def next_job(self, now_s: float) -> tuple[list[Effect], PlanningJob | None]:
        """Return what is to be solved next, if anything; answers that are known already are acted on at once."""
        effects: list[Effect] = []
        if now_s < self._settled_at_s:
            return effects, None
        for stream in [stream for stream, at_s in self.streams.due.items() if at_s <= now_s]:
            if self.streams.due.pop(stream, None) is None:
                continue
            job = self._job(stream, now_s)
            answer = None if job is None else self.streams.solved_before(job)
            if job is not None and answer is None:
                return effects + self.streams.statuses(), job
            if job is not None and answer is not None:
                effects += conclude(self.streams, job, answer, self.snapshot, now_s)
            elif self.streams.records[stream].pending is not None:
                effects += self._accept(stream, now_s)
        return effects + self.streams.statuses(), None

    def answered(self, job: PlanningJob, answer: Answer, now_s: float) -> list[Effect]:
        """Take the answer to a job."""
        record, plan = self.streams.record(job.stream), answer.plan
        infeasible = answer.infeasible(job.stream)
        if job.request is None:
            effects = conclude(self.streams, job, answer, self.snapshot, now_s)
        elif job.request is not record.pending:
            effects = []
        elif infeasible is not None:
            reasons = tuple(violation.message for violation in infeasible.reasons)
            effects = self._refuse(job.stream, PolicyRefusal(job.request.revision, reasons), now_s)
        elif plan is not None and is_tiled(plan):
            reason = f"strategy {plan.strategy}: {TILED}"
            effects = self._refuse(job.stream, PolicyRefusal(job.request.revision, (reason,)), now_s)
        else:
            # The problem with the policy in force is the one that was judged: its answer need not be found again.
            self.streams.record(job.streams[0]).solved = (job.problem, answer)
            effects = self._accept(job.stream, now_s)
        return effects + self.streams.statuses()

    def failed(self, job: PlanningJob, reason: str, now_s: float) -> list[Effect]:
        """A strategy has raised instead of answering."""
        text = f"stream {', '.join(job.streams)}: strategy {job.policy.strategy} failed: {reason}"
        effects: list[Effect] = [self.streams.event(EventKind.FAILURE, text, now_s, stream=job.stream)]
        record = self.streams.record(job.stream)
        if job.request is not None and job.request is record.pending:
            effects += self._refuse(job.stream, PolicyRefusal(job.request.revision, (text,)), now_s)
        else:
            for stream in job.streams:
                self.streams.record(stream).infeasible = (text,)
            self.streams.mark(job.stream, now_s + RETRY_AFTER_S)
        return effects + self.streams.statuses()

    def next_survey(self, now_s: float) -> Survey | None:
        """Return a plan whose thresholds are to be computed, when there is nothing to plan."""
        return next_survey(self.streams, self.snapshot, now_s) if now_s >= self._settled_at_s else None

    def surveyed(self, asked: Survey, found: Alternatives, now_s: float) -> list[Effect]:
        """Take the thresholds of a plan."""
        return surveyed(self.streams, asked, found, self.snapshot, now_s)

    def model_stored(self, manifest: Manifest, now_s: float) -> list[Effect]:
        """A model's file is in the library: it can be pulled from here."""
        self._library.add(manifest.model)
        self.snapshot = apply(self.snapshot, manifest, now_s)
        self._models_changed(now_s)
        document = Document(Kind.MANIFEST, manifest.model, manifest.encode())
        return [Persist(document), retained(topics.manifest(manifest.model), manifest), *self.streams.statuses()]

    def _handle(self, message: Inbound, now_s: float, own: bool) -> list[Effect]:
        match message:
            case Presence():
                self.streams.silence.heard(message.device)
                return self._presence(message, now_s)
            case Preparing() | Ready() | Rejected():
                self.streams.silence.heard(message.device)
                return self._answer(message, now_s)
            case ProfileFailed(device=device, model=model, reason=reason):
                self._measurements = profile_requests.failed(self._measurements, (device, model), reason)
                self.streams.mark_all(now_s)
                text = f"device {device} cannot measure model {model[:12]}: {reason}"
                return [self.streams.event(EventKind.FAILURE, text, now_s, device=device)]
            case Telemetry() | Links():
                self.snapshot = apply(self.snapshot, message, now_s)
                self.streams.mark_all(now_s)
            case Profile() | StreamUsage():
                self.snapshot = apply(self.snapshot, message, now_s)
                self._models_changed(now_s)
            case Calibration():
                return self._calibration(message, now_s, own)
            case ShadowReport():
                return self._shadow(message, now_s)
            case Manifest() | ModelWithdrawn():
                return self._manifest(message, now_s, own)
            case Offer(manifest=manifest, provider=provider):
                return [FetchModel(manifest.model_copy(update={"provider": self.name}), provider)]
            case StreamDeclaration():
                return self._declaration(message, now_s, own)
            case PolicyDocument():
                return self._policy(message, now_s, own)
            case CommittedPlan():
                return self._plan_seen(message, now_s)
            case Question(stream=stream, asker=asker):
                problem = self.streams.problem(stream, self.snapshot, now_s)
                answer = explain(message, self.streams.records.get(stream), problem)
                return [command(topics.explanations(stream, asker), answer)]
        return []

    def _presence(self, presence: Presence, now_s: float, how_lost: str = "is gone") -> list[Effect]:
        name = presence.device
        before = self.snapshot.devices.get(name)
        self.snapshot = apply(self.snapshot, presence, now_s)
        after = self.snapshot.device(name)
        effects: list[Effect] = []
        event: ep.EpochEvent = ep.DeviceLost(name)
        if after.online:
            restarted = before is not None and before.boot_id not in ("", after.boot_id)
            event = ep.DeviceOnline(name, restarted)
            if before is not None and before.presence_changed_at_s is not None and (restarted or not before.online):
                text = f"device {name} {'was restarted' if restarted else 'is back'}"
                effects.append(self.streams.event(EventKind.DEVICE_BACK, text, now_s, device=name))
        elif before is not None and before.online:
            effects.append(self.streams.event(EventKind.DEVICE_LOST, f"device {name} {how_lost}", now_s, device=name))
        for record in self.streams.records.values():
            effects += self.streams.advance(record, event, self.snapshot, now_s)
        if not after.online:
            effects += self.streams.abandon_on(name, self.snapshot, now_s)
        self._models_changed(now_s)
        return effects

    def _shadow(self, report: ShadowReport, now_s: float) -> list[Effect]:
        before, self.snapshot = self.snapshot, apply(self.snapshot, report, now_s)
        effects: list[Effect] = []
        for stream, text in withdrawn(before, self.snapshot, report):
            effects.append(self.streams.event(EventKind.CODEC_WITHDRAWN, text, now_s, stream=stream))
            self.streams.mark(stream, now_s)
        self._field.note(report, now_s, is_urgent=bool(effects))
        return self._field.take_due(self.snapshot, now_s) + effects

    def _calibration(self, calibration: Calibration, now_s: float, own: bool) -> list[Effect]:
        model = calibration.model
        known, self.snapshot = self.snapshot.shadows, apply(self.snapshot, calibration, now_s)
        self.streams.mark_all(now_s)
        effects = self._field.forget(model) if model in known and model not in self.snapshot.shadows else []
        return effects if own else [*effects, Persist(Document(Kind.CALIBRATION, model, calibration.encode()))]

    def _manifest(self, message: Manifest | ModelWithdrawn, now_s: float, own: bool) -> list[Effect]:
        in_library = message.model in self._library
        if isinstance(message, Manifest) and in_library:
            return []
        if isinstance(message, ModelWithdrawn) and own:
            return []
        self.snapshot = apply(self.snapshot, message, now_s)
        self._models_changed(now_s)
        self._library.discard(message.model)
        return [DeleteDocument(Kind.MANIFEST, message.model)] if in_library else []

    def _declaration(self, message: StreamDeclaration, now_s: float, own: bool) -> list[Effect]:
        stream = message.stream
        known = self.snapshot.streams.get(stream)
        if (own and (known is not None or not message.model)) or message == known:
            return []
        if not message.model:
            return self._withdraw(stream, now_s) if known is not None else []
        record = self.streams.record(stream)
        record.declared = True
        self.snapshot = apply(self.snapshot, message, now_s)
        self._models_changed(now_s)
        effects: list[Effect] = [Persist(Document(Kind.STREAM, stream, message.encode()))]
        return effects + self._abandon(record, now_s)

    def _withdraw(self, stream: str, now_s: float) -> list[Effect]:
        record = self.streams.record(stream)
        self.snapshot = apply(self.snapshot, StreamDeclaration(stream=stream, model="", source="none"), now_s)
        effects = self.streams.advance(record, ep.Withdraw(), self.snapshot, now_s)
        self.streams.replace(StreamRecord(ep.Epochs(stream, record.epochs.last_epoch)))
        self._models_changed(now_s)
        return [
            DeleteDocument(Kind.STREAM, stream),
            DeleteDocument(Kind.POLICY, stream),
            *effects,
            *(cleared(topic(stream)) for topic in (topics.stream, topics.policy, topics.status)),
        ]

    def _policy(self, message: PolicyDocument, now_s: float, own: bool) -> list[Effect]:
        stream = message.stream
        record = self.streams.records.get(stream)
        if own and (record is not None or not message.payload):
            return []
        if not message.payload:
            return self._reset_policy(stream, now_s) if record is not None and record.policy_document else []
        request = read_request(message.payload, stream, self.snapshot, self._strategies)
        if isinstance(request, PolicyRefusal):
            return self._refuse(stream, request, now_s)
        record = self.streams.record(stream)
        if record.policy_document == request_document(request) and record.verdict.revision == request.revision:
            return []
        record.pending = request
        self.streams.mark(stream, now_s)
        return []

    def _reset_policy(self, stream: str, now_s: float) -> list[Effect]:
        record = self.streams.record(stream)
        record.policy_document, record.pending, record.verdict = b"", None, PolicyVerdict()
        self.snapshot = apply(self.snapshot, PolicySet(stream, None), now_s)
        self._models_changed(now_s)
        return [DeleteDocument(Kind.POLICY, stream), *self._abandon(record, now_s)]

    def _accept(self, stream: str, now_s: float) -> list[Effect]:
        record = self.streams.record(stream)
        request, record.pending = record.pending, None
        if request is None:
            return []
        changed = request.policy != self.snapshot.policy(stream)
        record.policy_document = request_document(request)
        record.verdict = PolicyVerdict(request.revision, reasons=reservations(request.policy, self.snapshot))
        self.snapshot = apply(self.snapshot, PolicySet(stream, request.policy), now_s)
        self._models_changed(now_s)
        text = f"stream {stream}: policy {request.revision} is in force".replace("  ", " ")
        return [
            Persist(Document(Kind.POLICY, stream, record.policy_document)),
            self.streams.event(EventKind.POLICY_ACCEPTED, text, now_s, stream=stream),
            *(self._abandon(record, now_s) if changed else ()),
        ]

    def _refuse(self, stream: str, refusal: PolicyRefusal, now_s: float) -> list[Effect]:
        record = self.streams.record(stream)
        record.pending = None
        record.verdict = PolicyVerdict(refusal.revision, accepted=False, reasons=refusal.reasons)
        self.streams.mark(stream, now_s)
        text = f"stream {stream}: policy refused, the previous one stays: {'; '.join(refusal.reasons)}"
        data = {"revision": refusal.revision, "reasons": list(refusal.reasons)}
        return [
            Publish(topics.policy(stream), record.policy_document, retain=True),
            self.streams.event(EventKind.POLICY_REFUSED, text, now_s, stream=stream, data=data),
        ]

    def _plan_seen(self, plan: CommittedPlan, now_s: float) -> list[Effect]:
        record = self.streams.record(plan.stream)
        known = record.epochs.last_epoch
        if plan.epoch <= known:
            return []
        effects = self.streams.advance(record, ep.PlanSeen(plan), self.snapshot, now_s)
        effects.append(Persist(Document(Kind.EPOCH, plan.stream, str(record.epochs.last_epoch).encode())))
        if record.epochs.committed is plan:
            record.in_force = adopted(plan, self.snapshot.policy(plan.stream))
            effects.append(Persist(Document(Kind.PLAN, plan.stream, plan.encode())))
            self.streams.mark(plan.stream, now_s)
        return effects

    def _answer(self, answer: Preparing | Ready | Rejected, now_s: float) -> list[Effect]:
        record, event = self.streams.records.get(answer.stream), epoch_event(answer)
        return [] if record is None or event is None else self.streams.advance(record, event, self.snapshot, now_s)

    def _job(self, stream: str, now_s: float) -> PlanningJob | None:
        fellows = group_of(stream, self.snapshot) if self.streams.records[stream].pending is None else (stream,)
        if any(self._devices_unheard(self.streams.record(fellow), now_s) for fellow in fellows):
            self.streams.mark(stream, now_s + SETTLE_S)
            return None
        return self.streams.job(stream, self.snapshot, self._measurements, now_s)

    def _devices_unheard(self, record: StreamRecord, now_s: float) -> bool:
        present = record.in_force
        if present is None or present.problem is not None or record.pending is not None:
            return False
        unheard = {present.source, *devices_of(present.routes)} - self.snapshot.devices.keys()
        return bool(unheard) and now_s < self._started_at_s + RESTORE_PATIENCE_S

    def _abandon(self, record: StreamRecord, now_s: float) -> list[Effect]:
        if record.epochs.proposal is None:
            return []
        return self.streams.advance(record, ep.Abandon(), self.snapshot, now_s)

    def _models_changed(self, now_s: float) -> None:
        self._measurements = profile_requests.update(self._measurements, self.snapshot, now_s)
        self.streams.mark_all(now_s)
