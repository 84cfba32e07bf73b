"""Make before break: the epochs of a stream as a state machine that returns what to send. Pure.

A proposal is sent to every device in it; when all are ready it is committed and earlier epochs are released. A
rejection, a silence or the loss of a device ends the proposal, and the plan in force stays.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from services.planner.decisions.committed_routes import segments_of
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.problem_from_snapshot import Exclusion
from shared.messages.control import Prepare, RejectionCause, Release, SegmentRange
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan
from shared.segment_memory import segment_memory_bytes

READY_TIMEOUT_S = 30.0
"""How long a device may take to get ready. It has the model already, since it has a profile."""
RESEND_AFTER_S = 2.0
EXCLUDE_FOR_S = 120.0


class IllegalTransitionError(RuntimeError):
    """An event that cannot happen in this phase: a fault of the planner."""


class EpochPhase(Enum):
    """Where a stream stands."""

    IDLE = auto()
    """Nothing in force, nothing proposed."""
    PROPOSING = auto()
    """The first plan is being made ready."""
    RUNNING = auto()
    """A plan is in force."""
    REROUTING = auto()
    """A plan is in force and the next one is being made ready."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan whose devices are getting ready.

    Attributes:
        plan: to be committed.
        manifest: of its model.
        reroute: why.
        ready: devices that have said so.
        proposed_at_s: planner's clock.
        asked_at_s: when silent devices were last asked.
    """

    plan: CommittedPlan
    manifest: Manifest
    reroute: RerouteDecision
    proposed_at_s: float
    asked_at_s: float
    ready: frozenset[str] = frozenset()

    @property
    def segments(self) -> dict[str, tuple[SegmentRange, ...]]:
        """What every device must hold."""
        return segments_of(self.plan.routes)

    @property
    def silent(self) -> tuple[str, ...]:
        """Devices that have not answered."""
        return tuple(device for device in self.segments if device not in self.ready)

    def prepare(self, device: str) -> "SendPrepare":
        """Return the command that asks a device to get ready."""
        plan = self.plan
        message = Prepare(stream=plan.stream, epoch=plan.epoch, manifest=self.manifest, segments=self.segments[device])
        return SendPrepare(device, message)


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of a stream.

    Attributes:
        stream: its name.
        last_epoch: the highest number ever given out; kept on disk, so that none is used twice.
        committed: the plan in force.
        proposal: the plan that is getting ready.
        holders: devices that were asked to prepare an epoch which is not released yet.
        warm: what devices were asked to hold for the epoch in force besides its plan, everything listed.
    """

    stream: str
    last_epoch: int = 0
    committed: CommittedPlan | None = None
    proposal: Proposal | None = None
    holders: frozenset[str] = frozenset()
    warm: Mapping[str, tuple[SegmentRange, ...]] = field(default_factory=dict)

    @property
    def phase(self) -> EpochPhase:
        """Where the stream stands."""
        if self.proposal is None:
            return EpochPhase.IDLE if self.committed is None else EpochPhase.RUNNING
        return EpochPhase.PROPOSING if self.committed is None else EpochPhase.REROUTING

    def at_least(self, epoch: int) -> "Epochs":
        """Return the same with ``epoch`` given out."""
        return replace(self, last_epoch=max(self.last_epoch, epoch))


@dataclass(frozen=True, slots=True)
class Propose:
    """Plan and reason are decided; ``plan.epoch`` is filled in here."""

    plan: CommittedPlan
    manifest: Manifest
    reroute: RerouteDecision


@dataclass(frozen=True, slots=True)
class ReadyFrom:
    """A device can run an epoch."""

    device: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RejectedBy:
    """A device cannot run an epoch."""

    device: str
    epoch: int
    cause: RejectionCause
    reason: str


@dataclass(frozen=True, slots=True)
class EpochTicked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """A device went offline."""

    device: str


@dataclass(frozen=True, slots=True)
class DeviceOnline:
    """A device has connected, again or anew; what was sent meanwhile is lost."""

    device: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stream or policy changed: the proposal is not wanted any more."""


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """A retained plan of an earlier life, found on the broker."""

    plan: CommittedPlan


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The stream is no more."""


@dataclass(frozen=True, slots=True)
class KeepWarm:
    """The plan in force may soon be left: have all of these segments ready, its own included, under its number."""

    segments: Mapping[str, tuple[SegmentRange, ...]]
    manifest: Manifest


EpochEvent = (
    KeepWarm
    | Propose
    | ReadyFrom
    | RejectedBy
    | EpochTicked
    | DeviceLost
    | DeviceOnline
    | Abandon
    | PlanSeen
    | Withdraw
)


@dataclass(frozen=True, slots=True)
class ReserveEpoch:
    """Write the number to disk before anything else happens."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SendPrepare:
    """Ask a device to get ready."""

    device: str
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class SendRelease:
    """Tell a device which epochs are over."""

    device: str
    release: Release


@dataclass(frozen=True, slots=True)
class Commit:
    """Put the plan in force; ``previous`` was before."""

    plan: CommittedPlan
    reroute: RerouteDecision
    previous: CommittedPlan | None


@dataclass(frozen=True, slots=True)
class Exclude:
    """Plan without this choice for a while."""

    exclusion: Exclusion
    cause: RejectionCause | None
    """None for a device that did not answer."""


@dataclass(frozen=True, slots=True)
class PlanAgain:
    """The proposal is over; plan from the newest state."""


@dataclass(frozen=True, slots=True)
class ClearPlan:
    """Take the plan in force back."""


EpochCommand = ReserveEpoch | SendPrepare | SendRelease | Commit | Exclude | PlanAgain | ClearPlan
Step = tuple[Epochs, list[EpochCommand]]


def advance(epochs: Epochs, event: EpochEvent, now_s: float) -> Step:
    """Return the next state and what to do, in this order.

    Reports on epochs that are not proposed any more change nothing.

    Raises:
        IllegalTransitionError: the table does not list the event for this phase.
    """
    handler = _TABLE.get((epochs.phase, type(event)))
    if handler is None:
        raise IllegalTransitionError(f"{type(event).__name__} cannot happen while {epochs.phase.name.lower()}")
    return handler(epochs, event, now_s)


def _propose(epochs: Epochs, event: Propose, now_s: float) -> Step:
    epoch = epochs.last_epoch + 1
    plan = event.plan.model_copy(update={"epoch": epoch})
    proposal = Proposal(plan, event.manifest, event.reroute, now_s, now_s)
    holders = epochs.holders | proposal.segments.keys()
    commands: list[EpochCommand] = [ReserveEpoch(epoch), *map(proposal.prepare, proposal.segments)]
    return replace(epochs, last_epoch=epoch, proposal=proposal, holders=holders), commands


def _ready(epochs: Epochs, event: ReadyFrom, now_s: float) -> Step:
    proposal = epochs.proposal
    if proposal is None or event.epoch != proposal.plan.epoch or event.device not in proposal.segments:
        return epochs, []
    proposal = replace(proposal, ready=proposal.ready | {event.device})
    if proposal.silent:
        return replace(epochs, proposal=proposal), []
    plan = proposal.plan.model_copy(update={"committed_at_s": now_s})
    release = Release(stream=epochs.stream, through_epoch=plan.epoch - 1)
    commands: list[EpochCommand] = [Commit(plan, proposal.reroute, epochs.committed)]
    if release.through_epoch > 0:
        commands += [SendRelease(device, release) for device in sorted(epochs.holders)]
    holders = frozenset(proposal.segments)
    return replace(epochs, committed=plan, proposal=None, holders=holders, warm={}), commands


def _keep_warm(epochs: Epochs, event: KeepWarm, now_s: float) -> Step:
    plan = epochs.committed
    if plan is None:
        return epochs, []
    fresh = {device: ranges for device, ranges in event.segments.items() if epochs.warm.get(device) != ranges}
    asked = Prepare(stream=plan.stream, epoch=plan.epoch, manifest=event.manifest, segments=())
    commands: list[EpochCommand] = [
        SendPrepare(device, asked.model_copy(update={"segments": ranges})) for device, ranges in fresh.items()
    ]
    return replace(epochs, warm={**epochs.warm, **fresh}, holders=epochs.holders | fresh.keys()), commands


def _rejected(epochs: Epochs, event: RejectedBy, now_s: float) -> Step:
    proposal = epochs.proposal
    if proposal is None or event.epoch != proposal.plan.epoch or event.device not in proposal.segments:
        return epochs, []
    memory = _need_bytes(proposal, event.device) if event.cause is RejectionCause.MEMORY else None
    exclusion = _exclusion(proposal, event.device, event.reason, now_s, memory)
    return replace(epochs, proposal=None), [Exclude(exclusion, event.cause), PlanAgain()]


def _ticked(epochs: Epochs, event: EpochTicked, now_s: float) -> Step:
    proposal = epochs.proposal
    if proposal is None:
        return epochs, []
    if now_s - proposal.proposed_at_s >= READY_TIMEOUT_S:
        reason = f"no answer within {READY_TIMEOUT_S:.0f} s"
        excluded = [Exclude(_exclusion(proposal, device, reason, now_s), None) for device in proposal.silent]
        return replace(epochs, proposal=None), [*excluded, PlanAgain()]
    if now_s - proposal.asked_at_s >= RESEND_AFTER_S:
        asked = replace(proposal, asked_at_s=now_s)
        return replace(epochs, proposal=asked), [proposal.prepare(device) for device in proposal.silent]
    return epochs, []


def _lost(epochs: Epochs, event: DeviceLost, now_s: float) -> Step:
    if epochs.proposal is None or event.device not in epochs.proposal.segments:
        return epochs, []
    return replace(epochs, proposal=None), [PlanAgain()]


def _online(epochs: Epochs, event: DeviceOnline, now_s: float) -> Step:
    commands: list[EpochCommand] = []
    if epochs.committed is not None and event.device in epochs.holders and not event.restarted:
        release = Release(stream=epochs.stream, through_epoch=epochs.committed.epoch - 1)
        commands.append(SendRelease(event.device, release))
    if event.restarted:
        warm = {device: ranges for device, ranges in epochs.warm.items() if device != event.device}
        epochs = replace(epochs, warm=warm)
    proposal = epochs.proposal
    if proposal is None or event.device not in proposal.segments:
        return epochs, commands
    if event.restarted:
        proposal = replace(proposal, ready=proposal.ready - {event.device})
    if event.device in proposal.silent:
        commands.append(proposal.prepare(event.device))
    return replace(epochs, proposal=proposal), commands


def _abandon(epochs: Epochs, event: Abandon, now_s: float) -> Step:
    return replace(epochs, proposal=None), [PlanAgain()]


def _adopt(epochs: Epochs, event: PlanSeen, now_s: float) -> Step:
    if event.plan.epoch <= epochs.last_epoch:
        return epochs, []
    holders = epochs.holders.union(stage.device for route in event.plan.routes for stage in route.stages)
    return replace(epochs, last_epoch=event.plan.epoch, committed=event.plan, holders=holders, warm={}), []


def _outnumber(epochs: Epochs, event: PlanSeen, now_s: float) -> Step:
    return epochs.at_least(event.plan.epoch), []


def _withdraw(epochs: Epochs, event: Withdraw, now_s: float) -> Step:
    release = Release(stream=epochs.stream, through_epoch=epochs.last_epoch)
    commands: list[EpochCommand] = [ClearPlan()]
    commands += [SendRelease(device, release) for device in sorted(epochs.holders)]
    return replace(epochs, committed=None, proposal=None, holders=frozenset(), warm={}), commands


def _need_bytes(proposal: Proposal, device: str) -> float:
    blocks = [
        block
        for segment in proposal.segments[device]
        for block in proposal.manifest.blocks[segment.start : segment.stop]
    ]
    return segment_memory_bytes([block.parameter_bytes for block in blocks], [block.working_bytes for block in blocks])


def _exclusion(
    proposal: Proposal, device: str, reason: str, now_s: float, memory_bytes: float | None = None
) -> Exclusion:
    return Exclusion(proposal.plan.stream, device, proposal.plan.model, now_s + EXCLUDE_FOR_S, reason, memory_bytes)


_Handler = Callable[[Epochs, Any, float], Step]
_EVERYWHERE: Mapping[type, _Handler] = {
    ReadyFrom: _ready,
    RejectedBy: _rejected,
    EpochTicked: _ticked,
    DeviceLost: _lost,
    DeviceOnline: _online,
    Withdraw: _withdraw,
}
_TABLE: Mapping[tuple[EpochPhase, type], _Handler] = {
    **{(phase, event): handler for phase in EpochPhase for event, handler in _EVERYWHERE.items()},
    (EpochPhase.IDLE, Propose): _propose,
    (EpochPhase.RUNNING, Propose): _propose,
    (EpochPhase.RUNNING, KeepWarm): _keep_warm,
    (EpochPhase.PROPOSING, Abandon): _abandon,
    (EpochPhase.REROUTING, Abandon): _abandon,
    (EpochPhase.IDLE, PlanSeen): _adopt,
    (EpochPhase.PROPOSING, PlanSeen): _outnumber,
    (EpochPhase.RUNNING, PlanSeen): _adopt,
    (EpochPhase.REROUTING, PlanSeen): _outnumber,
}
