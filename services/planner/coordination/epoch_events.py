"""Events that move the epochs of a stream, and commands that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.problem_from_snapshot import Exclusion
from shared.messages.control import Prepare, RejectionCause, Release, SegmentRange
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan


@dataclass(frozen=True, slots=True)
class Propose:
    """Prepare a plan; `epochs.advance` fills in its epoch."""

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
    """A device has connected; commands sent while it was away are lost.

    Attributes:
        device: its name.
        restarted: its process is a new one, which holds no segment.
    """

    device: str
    restarted: bool


@dataclass(frozen=True, slots=True)
class Abandon:
    """The stream, its policy or its group has changed, so that the proposal is void."""


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """A retained or stored plan that these epochs have not committed."""

    plan: CommittedPlan


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The stream is withdrawn."""


@dataclass(frozen=True, slots=True)
class KeepWarm:
    """Load segments that the next plan probably needs, under the epoch in force.

    Attributes:
        segments: all segments that a device shall hold, those of the plan in force included, by device.
        manifest: of the model.
    """

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
    """Write an epoch to disk before any device gets a command with it."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SendPrepare:
    """Ask a device to prepare segments."""

    device: str
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class SendRelease:
    """Release the epochs of a device that are over."""

    device: str
    release: Release


@dataclass(frozen=True, slots=True)
class Commit:
    """Put the plan in force; ``previous`` was in force before."""

    plan: CommittedPlan
    reroute: RerouteDecision
    previous: CommittedPlan | None


@dataclass(frozen=True, slots=True)
class Exclude:
    """Plan without a choice for a while.

    Attributes:
        exclusion: the choice.
        cause: the device's; None for a device that did not answer in time.
    """

    exclusion: Exclusion
    cause: RejectionCause | None


@dataclass(frozen=True, slots=True)
class PlanAgain:
    """The proposal has ended; plan from the newest state."""


@dataclass(frozen=True, slots=True)
class ClearPlan:
    """Take the plan in force back."""


EpochCommand = ReserveEpoch | SendPrepare | SendRelease | Commit | Exclude | PlanAgain | ClearPlan
