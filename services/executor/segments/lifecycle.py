"""Which segments a device builds, keeps and drops as epochs come and go. Pure.

An epoch of a stream on this device goes through the table `TRANSITIONS`; a segment is kept as long as an epoch that is
not gone wants it. Make before break: the segments of the epoch before stay until its last request is through.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from shared.messages.control import RejectionCause
from shared.segment_memory import segment_memory_bytes


class LocalEpochPhase(Enum):
    """Where an epoch of a stream stands on this device."""

    PREPARING = auto()
    """Asked for by the planner; not all its segments are built."""
    READY = auto()
    """All its segments are built, or it was begun by a feature map."""
    RELEASED = auto()
    """Over: kept for the requests that are still on their way."""
    GONE = auto()


class SegmentStep(Enum):
    """What may happen to an epoch."""

    ASK = auto()
    BUILT = auto()
    FAILED = auto()
    RELEASE = auto()
    EXPIRE = auto()


TRANSITIONS: dict[tuple[LocalEpochPhase, SegmentStep], LocalEpochPhase] = {
    (LocalEpochPhase.PREPARING, SegmentStep.ASK): LocalEpochPhase.PREPARING,
    (LocalEpochPhase.READY, SegmentStep.ASK): LocalEpochPhase.PREPARING,
    (LocalEpochPhase.RELEASED, SegmentStep.ASK): LocalEpochPhase.PREPARING,
    (LocalEpochPhase.PREPARING, SegmentStep.BUILT): LocalEpochPhase.READY,
    (LocalEpochPhase.PREPARING, SegmentStep.FAILED): LocalEpochPhase.GONE,
    (LocalEpochPhase.PREPARING, SegmentStep.RELEASE): LocalEpochPhase.RELEASED,
    (LocalEpochPhase.READY, SegmentStep.RELEASE): LocalEpochPhase.RELEASED,
    (LocalEpochPhase.READY, SegmentStep.FAILED): LocalEpochPhase.READY,
    (LocalEpochPhase.RELEASED, SegmentStep.RELEASE): LocalEpochPhase.RELEASED,
    (LocalEpochPhase.RELEASED, SegmentStep.FAILED): LocalEpochPhase.RELEASED,
    (LocalEpochPhase.RELEASED, SegmentStep.EXPIRE): LocalEpochPhase.GONE,
}


class LifecycleError(Exception):
    """An epoch was asked to do what its phase does not allow: a broken contract."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentKey:
    """Blocks `[start, stop)` of a model, and the representation in which its graph encodes its outputs as well."""

    model: str
    start: int
    stop: int
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class SegmentNeed:
    """A segment and the memory it takes, from the manifest."""

    key: SegmentKey
    parameter_bytes: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EpochKey:
    """An epoch of a stream."""

    stream: str
    epoch: int


# Events


@dataclass(frozen=True, slots=True)
class PrepareAsked:
    """The planner wants these segments for an epoch; `available_bytes` is what the machine has free now."""

    epoch: EpochKey
    needs: tuple[SegmentNeed, ...]
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentWanted:
    """A feature map of this epoch asks for a segment, prepared or not. `SegmentReturned` follows in any case."""

    epoch: EpochKey
    need: SegmentNeed


@dataclass(frozen=True, slots=True)
class SegmentReturned:
    """The feature map is through."""

    epoch: EpochKey


@dataclass(frozen=True, slots=True)
class BuildSucceeded:
    """A segment is loaded."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """A segment cannot be loaded."""

    key: SegmentKey
    cause: RejectionCause
    reason: str


@dataclass(frozen=True, slots=True)
class EpochsOver:
    """The epochs of a stream up to `through_epoch` are over (all of them: none)."""

    stream: str
    through_epoch: int | None


@dataclass(frozen=True, slots=True)
class ReleaseTick:
    """Time has passed."""


SegmentEvent = PrepareAsked | SegmentWanted | SegmentReturned | BuildSucceeded | BuildFailed | EpochsOver | ReleaseTick


# Commands


@dataclass(frozen=True, slots=True)
class Build:
    """Load this segment, in the background; answered by BuildSucceeded or BuildFailed."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class Drop:
    """Unload this segment."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class AnswerReady:
    """Tell the planner that the epoch can run here."""

    epoch: EpochKey


@dataclass(frozen=True, slots=True)
class AnswerRejected:
    """Tell the planner that the epoch cannot run here, and why."""

    epoch: EpochKey
    cause: RejectionCause
    reason: str


SegmentCommand = Build | Drop | AnswerReady | AnswerRejected


@dataclass(slots=True)
class _Epoch:
    phase: LocalEpochPhase
    wanted: dict[SegmentKey, SegmentNeed]
    requests: int = 0
    last_use_s: float = 0.0


@dataclass(slots=True)
class SegmentLifecycle:
    """The epochs and segments of one device.

    Attributes:
        memory_limit_bytes: what the newest epochs of all streams may take together; none for what the machine has.
        linger_s: how long a released epoch is kept after its last request, for those still on their way to here.
    """

    memory_limit_bytes: int | None = None
    linger_s: float = 5.0
    _epochs: dict[EpochKey, _Epoch] = field(default_factory=dict, init=False)
    _loaded: set[SegmentKey] = field(default_factory=set, init=False)
    _building: set[SegmentKey] = field(default_factory=set, init=False)
    _over: dict[str, int] = field(default_factory=dict, init=False)

    def phase(self, epoch: EpochKey) -> LocalEpochPhase:
        """Return where an epoch stands; GONE for one that is not known."""
        known = self._epochs.get(epoch)
        return known.phase if known else LocalEpochPhase.GONE

    @property
    def loaded(self) -> frozenset[SegmentKey]:
        """The segments that are loaded."""
        return frozenset(self._loaded)

    def variant(self, epoch: EpochKey, key: SegmentKey, *, own_only: bool = False) -> SegmentKey:
        """Return the segment of the same blocks that an epoch wants, or that is loaded for another; else `key`.

        Whatever it encodes, a segment gives its plain outputs as well.

        Args:
            epoch: which.
            key: the blocks, and the encoding wanted.
            own_only: whether those of other epochs do not count.
        """
        known = self._epochs.get(epoch)
        held = (*(known.wanted if known else ()), *(() if own_only else sorted(self._loaded)))
        blocks = (key.model, key.start, key.stop)
        return next((each for each in held if (each.model, each.start, each.stop) == blocks), key)

    def handle(self, event: SegmentEvent, now_s: float) -> list[SegmentCommand]:
        """Take what has happened at `now_s` (monotonic seconds) and return what to do."""
        match event:
            case PrepareAsked():
                return self._prepare(event, now_s)
            case SegmentWanted(epoch, need):
                return self._want(epoch, need, now_s)
            case SegmentReturned(epoch):
                known = self._epochs[epoch]
                known.requests -= 1
                known.last_use_s = now_s
                return []
            case BuildSucceeded(key):
                self._building.discard(key)
                self._loaded.add(key)
                return [*self._answer_ready(), *self._drop_unwanted()]
            case BuildFailed(key, cause, reason):
                return self._failed(key, cause, reason)
            case EpochsOver(stream, through_epoch):
                return self._release(stream, through_epoch, now_s)
            case ReleaseTick():
                return self._expire(now_s)
            case _ as never:
                assert_never(never)

    def _prepare(self, asked: PrepareAsked, now_s: float) -> list[SegmentCommand]:
        refusal = self._too_much(asked)
        if refusal is not None:
            return [AnswerRejected(asked.epoch, RejectionCause.MEMORY, refusal)]
        wanted = {need.key: need for need in asked.needs}
        known = self._epochs.setdefault(asked.epoch, _Epoch(LocalEpochPhase.PREPARING, {}, last_use_s=now_s))
        known.phase = _after(known.phase, SegmentStep.ASK)
        # The planner may ask for other segments under the same number, after somebody has rejected the first choice.
        known.wanted = {**known.wanted, **wanted} if known.requests else wanted
        return [*self._build(wanted), *self._answer_ready()]

    def _too_much(self, asked: PrepareAsked) -> str | None:
        """Say why the needs do not fit.

        The limit bounds what the newest epochs take once the change is over; what the machine has free bounds what is
        loaded now, beside the epochs that are still in use.
        """
        needs = {need.key: need for need in asked.needs}
        for stream in {epoch.stream for epoch in self._epochs} - {asked.epoch.stream}:
            newest = max((epoch for epoch in self._epochs if epoch.stream == stream), key=lambda each: each.epoch)
            if self._epochs[newest].phase is not LocalEpochPhase.RELEASED:
                needs |= self._epochs[newest].wanted
        total_bytes = _memory_bytes(needs.values())
        if self.memory_limit_bytes is not None and total_bytes > self.memory_limit_bytes:
            return f"{_mib(total_bytes)} are needed and {_mib(self.memory_limit_bytes)} are allowed"
        fresh = [need for need in asked.needs if need.key not in self._loaded | self._building]
        fresh_bytes = _memory_bytes(fresh)
        if asked.available_bytes is not None and fresh_bytes > asked.available_bytes:
            return f"{_mib(fresh_bytes)} more are needed and {_mib(asked.available_bytes)} are free"
        return None

    def _want(self, epoch: EpochKey, need: SegmentNeed, now_s: float) -> list[SegmentCommand]:
        known = self._epochs.get(epoch)
        if known is None:
            over = epoch.epoch <= self._over.get(epoch.stream, -1)
            known = _Epoch(LocalEpochPhase.RELEASED if over else LocalEpochPhase.READY, {})
            self._epochs[epoch] = known
        known.wanted[need.key] = need
        known.requests += 1
        known.last_use_s = now_s
        return self._build([need.key])

    def _build(self, keys: Iterable[SegmentKey]) -> list[SegmentCommand]:
        fresh = [key for key in keys if key not in self._loaded and key not in self._building]
        self._building.update(fresh)
        return [Build(key) for key in fresh]

    def _answer_ready(self) -> list[SegmentCommand]:
        commands: list[SegmentCommand] = []
        for epoch, known in self._epochs.items():
            if known.phase is LocalEpochPhase.PREPARING and known.wanted.keys() <= self._loaded:
                known.phase = _after(known.phase, SegmentStep.BUILT)
                commands.append(AnswerReady(epoch))
        return commands

    def _failed(self, key: SegmentKey, cause: RejectionCause, reason: str) -> list[SegmentCommand]:
        self._building.discard(key)
        commands: list[SegmentCommand] = []
        for epoch, known in tuple(self._epochs.items()):
            if key not in known.wanted:
                continue
            if known.phase is LocalEpochPhase.PREPARING:
                commands.append(AnswerRejected(epoch, cause, reason))
            del known.wanted[key]
            known.phase = _after(known.phase, SegmentStep.FAILED)
            if known.phase is LocalEpochPhase.GONE:
                self._put_away(epoch)
        return [*commands, *self._drop_unwanted()]

    def _put_away(self, epoch: EpochKey) -> None:
        """Forget a rejected epoch, or keep it as released while feature maps of it are at work here."""
        known = self._epochs[epoch]
        if known.requests:
            known.phase = LocalEpochPhase.RELEASED
        else:
            del self._epochs[epoch]

    def _release(self, stream: str, through_epoch: int | None, now_s: float) -> list[SegmentCommand]:
        if through_epoch is not None:
            self._over[stream] = max(through_epoch, self._over.get(stream, -1))
        for epoch, known in self._epochs.items():
            if epoch.stream == stream and (through_epoch is None or epoch.epoch <= through_epoch):
                if known.phase is not LocalEpochPhase.RELEASED:
                    known.last_use_s = now_s
                known.phase = _after(known.phase, SegmentStep.RELEASE)
        return []

    def _expire(self, now_s: float) -> list[SegmentCommand]:
        for epoch, known in tuple(self._epochs.items()):
            idle = known.requests == 0 and now_s - known.last_use_s >= self.linger_s
            if known.phase is LocalEpochPhase.RELEASED and idle:
                known.phase = _after(known.phase, SegmentStep.EXPIRE)
                del self._epochs[epoch]
        return self._drop_unwanted()

    def _drop_unwanted(self) -> list[SegmentCommand]:
        wanted = {key for known in self._epochs.values() for key in known.wanted}
        unwanted = sorted(self._loaded - wanted)
        self._loaded.difference_update(unwanted)
        return [Drop(key) for key in unwanted]


def _after(phase: LocalEpochPhase, step: SegmentStep) -> LocalEpochPhase:
    try:
        return TRANSITIONS[phase, step]
    except KeyError:
        raise LifecycleError(f"an epoch that is {phase.name.lower()} cannot do {step.name.lower()}") from None


def _memory_bytes(needs: Iterable[SegmentNeed]) -> int:
    listed = list(needs)
    return segment_memory_bytes([need.parameter_bytes for need in listed], [need.activation_bytes for need in listed])


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
