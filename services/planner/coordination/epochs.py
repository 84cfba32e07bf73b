"""Epochs of a stream as a state machine: make before break.

A plan is proposed to every device in it. When all are ready, it is committed, and earlier epochs are released. A
rejection, a timeout or the loss of a device ends the proposal, and the plan in force stays. So a request always finds
a complete route, and no device drops a segment before the next plan runs.

    phase       event                                   next phase
    ----------  --------------------------------------  -------------------------------------------------------------
    IDLE        Propose                                 PROPOSING
                PlanSeen with a newer epoch             RUNNING
    PROPOSING   ReadyFrom the last device               RUNNING
                RejectedBy, timeout, Abandon, or        IDLE
                DeviceLost of a device in the proposal
                PlanSeen                                PROPOSING, with a higher last epoch
    RUNNING     Propose                                 REROUTING
                KeepWarm                                RUNNING
                PlanSeen with a newer epoch             RUNNING, under that plan
    REROUTING   PlanSeen                                REROUTING, with a higher last epoch
                else as PROPOSING                       RUNNING: under the new plan if it was committed, else the old
    every       Withdraw                                IDLE

Every other report leaves the phase as it is. A pair that `_TABLE` does not list raises `IllegalTransitionError`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from services.planner.coordination.epoch_events import (
    Abandon,
    ClearPlan,
    Commit,
    DeviceLost,
    DeviceOnline,
    EpochCommand,
    EpochEvent,
    EpochTicked,
    Exclude,
    KeepWarm,
    PlanAgain,
    PlanSeen,
    Propose,
    ReadyFrom,
    RejectedBy,
    ReserveEpoch,
    SendPrepare,
    SendRelease,
    Withdraw,
)
from services.planner.decisions.committed_routes import devices_of
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.problem_from_snapshot import Exclusion
from shared.messages.control import Prepare, RejectionCause, Release, SegmentRange, segments_of
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan
from shared.segment_memory import segment_memory_bytes

# Bound on the preparation. It includes no transfer of the model: a device with a profile has the file.
READY_TIMEOUT_S = 30.0
# Period after which a silent device is sent its command again. A command is lost if the device was reconnecting.
RESEND_AFTER_S = 2.0
# Time during which a rejected choice is not proposed again.
EXCLUDE_FOR_S = 120.0


class IllegalTransitionError(RuntimeError):
    """An event came in a phase for which the table does not list it, which is a fault of the planner."""


class EpochPhase(Enum):
    """Phase of a stream, by what is in force and what is proposed."""

    IDLE = auto()
    """Nothing in force, nothing proposed."""
    PROPOSING = auto()
    """Devices prepare the first plan."""
    RUNNING = auto()
    """A plan is in force."""
    REROUTING = auto()
    """A plan is in force and devices prepare the next one."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that devices prepare.

    Attributes:
        plan: to be committed.
        manifest: of its model.
        reroute: the decision with its reason.
        proposed_at_s: planner's clock.
        asked_at_s: time of the last command to silent devices.
        ready: devices that have reported that they can run the plan.
    """

    plan: CommittedPlan
    manifest: Manifest
    reroute: RerouteDecision
    proposed_at_s: float
    asked_at_s: float
    ready: frozenset[str] = frozenset()

    @property
    def segments(self) -> dict[str, tuple[SegmentRange, ...]]:
        """The segments that every device must hold."""
        return segments_of(route.stages for route in self.plan.routes)

    @property
    def silent(self) -> tuple[str, ...]:
        """Devices that have not reported that they are ready."""
        return tuple(device for device in self.segments if device not in self.ready)

    def prepare(self, device: str) -> "SendPrepare":
        """Return the command that asks a device to prepare its segments."""
        plan = self.plan
        message = Prepare(
            stream=plan.stream,
            epoch=plan.epoch,
            manifest=self.manifest,
            segments=self.segments[device],
            receivers=tuple(sorted(plan.direct_receivers(device))),
        )
        return SendPrepare(device, message)


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of a stream, immutable; `advance` returns the next value.

    Attributes:
        stream: its name.
        last_epoch: the highest number ever given out; kept on disk, so that no number is used twice.
        committed: the plan in force.
        proposal: the plan that devices prepare.
        holders: devices that were asked to prepare an epoch which is not released yet.
        warm: all segments that devices were asked to hold under the epoch in force beyond its plan, by device.
    """

    stream: str
    last_epoch: int = 0
    committed: CommittedPlan | None = None
    proposal: Proposal | None = None
    holders: frozenset[str] = frozenset()
    warm: Mapping[str, tuple[SegmentRange, ...]] = field(default_factory=dict)

    @property
    def phase(self) -> EpochPhase:
        """The phase, which follows from plan and proposal."""
        if self.proposal is None:
            return EpochPhase.IDLE if self.committed is None else EpochPhase.RUNNING
        return EpochPhase.PROPOSING if self.committed is None else EpochPhase.REROUTING

    def at_least(self, epoch: int) -> "Epochs":
        """Return the same with ``epoch`` given out."""
        return replace(self, last_epoch=max(self.last_epoch, epoch))


Transition = tuple[Epochs, list[EpochCommand]]


def advance(epochs: Epochs, event: EpochEvent, now_s: float) -> Transition:
    """Return the next state, and the commands to carry out in order.

    Reports on epochs that are not proposed change nothing: they may have been sent before the proposal ended.

    Raises:
        IllegalTransitionError: the table does not list the event for this phase.
    """
    handler = _TABLE.get((epochs.phase, type(event)))
    if handler is None:
        raise IllegalTransitionError(f"{type(event).__name__} cannot happen while {epochs.phase.name.lower()}")
    return handler(epochs, event, now_s)


def _propose(epochs: Epochs, event: Propose, now_s: float) -> Transition:
    epoch = epochs.last_epoch + 1
    plan = event.plan.model_copy(update={"epoch": epoch})
    proposal = Proposal(plan, event.manifest, event.reroute, now_s, now_s)
    holders = epochs.holders | proposal.segments.keys()
    commands: list[EpochCommand] = [ReserveEpoch(epoch), *map(proposal.prepare, proposal.segments)]
    return replace(epochs, last_epoch=epoch, proposal=proposal, holders=holders), commands


def _ready(epochs: Epochs, event: ReadyFrom, now_s: float) -> Transition:
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
        # Only now: until the commit, requests still run on the previous epoch.
        commands += [SendRelease(device, release) for device in sorted(epochs.holders)]
    # Devices outside the new plan have been sent the release of everything that they hold.
    holders = frozenset(proposal.segments)
    return replace(epochs, committed=plan, proposal=None, holders=holders, warm={}), commands


def _keep_warm(epochs: Epochs, event: KeepWarm, now_s: float) -> Transition:
    plan = epochs.committed
    if plan is None:
        return epochs, []
    # A device that was sent the same list before is not asked again.
    fresh = {device: ranges for device, ranges in event.segments.items() if epochs.warm.get(device) != ranges}
    asked = Prepare(stream=plan.stream, epoch=plan.epoch, manifest=event.manifest, segments=())
    commands: list[EpochCommand] = [
        SendPrepare(device, asked.model_copy(update={"segments": ranges})) for device, ranges in fresh.items()
    ]
    return replace(epochs, warm={**epochs.warm, **fresh}, holders=epochs.holders | fresh.keys()), commands


def _rejected(epochs: Epochs, event: RejectedBy, now_s: float) -> Transition:
    proposal = epochs.proposal
    if proposal is None or event.epoch != proposal.plan.epoch or event.device not in proposal.segments:
        return epochs, []
    # A device that lacks memory may still take a smaller segment. After any other failure the device is left out.
    memory_bytes = _need_bytes(proposal, event.device) if event.cause is RejectionCause.MEMORY else None
    exclusion = _exclusion(proposal, event.device, event.reason, now_s, memory_bytes)
    return replace(epochs, proposal=None), [Exclude(exclusion, event.cause), PlanAgain()]


def _ticked(epochs: Epochs, event: EpochTicked, now_s: float) -> Transition:
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


def _lost(epochs: Epochs, event: DeviceLost, now_s: float) -> Transition:
    if epochs.proposal is None or event.device not in epochs.proposal.segments:
        return epochs, []
    return replace(epochs, proposal=None), [PlanAgain()]


def _online(epochs: Epochs, event: DeviceOnline, now_s: float) -> Transition:
    commands: list[EpochCommand] = []
    # A release may have been lost while the device was away. A new process holds nothing to release.
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


def _abandon(epochs: Epochs, event: Abandon, now_s: float) -> Transition:
    return replace(epochs, proposal=None), [PlanAgain()]


def _adopt(epochs: Epochs, event: PlanSeen, now_s: float) -> Transition:
    if event.plan.epoch <= epochs.last_epoch:
        return epochs, []
    holders = epochs.holders.union(devices_of(event.plan.routes))
    return replace(epochs, last_epoch=event.plan.epoch, committed=event.plan, holders=holders, warm={}), []


def _outnumber(epochs: Epochs, event: PlanSeen, now_s: float) -> Transition:
    # The proposal keeps its number; the next one gets a number above that of the other planner's plan.
    return epochs.at_least(event.plan.epoch), []


def _withdraw(epochs: Epochs, event: Withdraw, now_s: float) -> Transition:
    # Everything up to the last number given out is over, a proposal included.
    release = Release(stream=epochs.stream, through_epoch=epochs.last_epoch)
    commands: list[EpochCommand] = [ClearPlan()]
    commands += [SendRelease(device, release) for device in sorted(epochs.holders)]
    return replace(epochs, committed=None, proposal=None, holders=frozenset(), warm={}), commands


def _need_bytes(proposal: Proposal, device: str) -> float:
    """Return the memory that a device needs for its segments of a proposal, which run one at a time."""
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


# Rows of the table in the module's docstring. Handlers get the event of their row, which the type cannot express.
_Handler = Callable[[Epochs, Any, float], Transition]
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
