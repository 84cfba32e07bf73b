"""State machine of the segments on a device: which are built, kept and dropped as epochs begin and end.

`SegmentLifecycle.handle` takes an event and the time and returns commands; `SegmentPool` performs them. It does no I/O.
An epoch of a stream on this device begins as PREPARING, or as RELEASED if a feature map comes first. Then it moves
through `TRANSITIONS`:

    Phase     | ASK       | BUILT | FAILED   | RELEASE  | EXPIRE
    ----------|-----------|-------|----------|----------|-------
    PREPARING | PREPARING | READY | GONE     | RELEASED |
    READY     | PREPARING |       | READY    | RELEASED |
    RELEASED  | PREPARING |       | RELEASED | RELEASED | GONE

Rules:

- A segment stays loaded as long as an epoch that is not GONE needs it.
- Make before break: a RELEASED epoch keeps its segments until `linger_s` after its last feature map has returned them.
  Until then more feature maps of it may be on their way to this device.
- An epoch that is PREPARING is answered by AnswerReady or AnswerRejected, unless it is released first.
- A feature map may come before its epoch is prepared, or after it was released. It gets its segment anyway. The epoch
  begins as RELEASED, because no Release need follow: it may be over, or be the invention of a stray feature map.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from services.executor.segments.segment_events import (
    AnswerReady,
    AnswerRejected,
    Build,
    BuildFailed,
    BuildSucceeded,
    Drop,
    EpochKey,
    EpochsOver,
    PrepareAsked,
    ReleaseTick,
    SegmentBorrowed,
    SegmentCommand,
    SegmentEvent,
    SegmentKey,
    SegmentNeed,
    SegmentReturned,
)
from shared.messages.control import RejectionCause
from shared.segment_memory import segment_memory_bytes


class LocalEpochPhase(Enum):
    """Phase of an epoch of a stream on this device."""

    PREPARING = auto()
    """Asked for by the planner; some of its segments are not built yet."""
    READY = auto()
    """All its segments are built."""
    RELEASED = auto()
    """Over, or begun by a feature map; kept for requests that are still on their way."""
    GONE = auto()


class SegmentStep(Enum):
    """Step that changes the phase of an epoch."""

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
    """A step that the phase of an epoch does not allow: an error in this program."""


@dataclass(slots=True)
class _Epoch:
    phase: LocalEpochPhase
    needs: dict[SegmentKey, SegmentNeed]
    requests: int = 0
    last_use_s: float = 0.0


@dataclass(slots=True)
class SegmentLifecycle:
    """The epochs and segments of one device; changed through `handle` only.

    Invariant: `_loaded` and `_building` are disjoint. From the command Build to Drop or BuildFailed, every key that an
    epoch needs is in one of them.

    Attributes:
        memory_limit_bytes: bound on the memory of the newest epochs of all streams; None for no bound of its own.
        linger_s: how long a released epoch is kept after its last feature map.
    """

    memory_limit_bytes: int | None = None
    linger_s: float = 5.0
    _epochs: dict[EpochKey, _Epoch] = field(default_factory=dict, init=False)
    _loaded: set[SegmentKey] = field(default_factory=set, init=False)
    _building: set[SegmentKey] = field(default_factory=set, init=False)

    def phase(self, epoch: EpochKey) -> LocalEpochPhase:
        """Return the phase of an epoch; GONE for an unknown one."""
        known = self._epochs.get(epoch)
        return known.phase if known else LocalEpochPhase.GONE

    @property
    def loaded(self) -> frozenset[SegmentKey]:
        """The segments that are loaded."""
        return frozenset(self._loaded)

    def is_loaded(self, key: SegmentKey) -> bool:
        """Return whether a segment is loaded."""
        return key in self._loaded

    def validate(self) -> None:
        """Check the invariant, for tests.

        Raises:
            AssertionError: it does not hold.
        """
        assert not self._loaded & self._building, "a loaded segment is being built again"
        needed = {key for known in self._epochs.values() for key in known.needs}
        assert needed <= self._loaded | self._building, "an epoch waits for a segment that is not being built"

    @property
    def held(self) -> frozenset[SegmentKey]:
        """The segments that are loaded or being built, or that an epoch needs."""
        return frozenset(self._loaded | self._building).union(*(known.needs for known in self._epochs.values()))

    def variant(self, epoch: EpochKey, key: SegmentKey, *, own_only: bool = False) -> SegmentKey:
        """Return a key of the same blocks and version that the epoch needs already, or that is loaded; else `key`.

        A segment that encodes its outputs also returns the plain ones, so a second copy of the blocks in memory would
        save nothing.

        Args:
            epoch: the epoch that asks.
            key: the blocks, the preferred encoding, and the version.
            own_only: whether to ignore the segments of other epochs.
        """
        known = self._epochs.get(epoch)
        held = (*(known.needs if known else ()), *(() if own_only else sorted(self._loaded)))
        same = (other for other in held if other.blocks == key.blocks and other.version == key.version)
        return next(same, key)

    def version(self, epoch: EpochKey, model: str) -> str | None:
        """Return the version of a model's manifest under which an epoch runs here; None if it has no segment yet."""
        known = self._epochs.get(epoch)
        # A later Prepare of the epoch counts, and the segments of an earlier one may still be in use.
        versions = [key.version for key in known.needs if key.model == model] if known else []
        return versions[-1] if versions else None

    def handle(self, event: SegmentEvent, now_s: float) -> list[SegmentCommand]:
        """Take an event at `now_s` (monotonic seconds) and return the commands."""
        match event:
            case PrepareAsked():
                return self._prepare(event, now_s)
            case SegmentBorrowed(epoch, need):
                return self._borrow(epoch, need, now_s)
            case SegmentReturned(epoch):
                known = self._epochs[epoch]
                known.requests -= 1
                known.last_use_s = now_s
                return []
            case BuildSucceeded(key):
                self._building.discard(key)
                self._loaded.add(key)
                return [*self._answer_ready(), *self._drop_unneeded()]
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
        needs = {need.key: need for need in asked.needs}
        known = self._epochs.setdefault(asked.epoch, _Epoch(LocalEpochPhase.PREPARING, {}, last_use_s=now_s))
        known.phase = _after(known.phase, SegmentStep.ASK)
        # The planner may ask for other segments under the same epoch, after a device has rejected the first choice.
        # Those of the first choice stay while feature maps use them.
        known.needs = {**known.needs, **needs} if known.requests else needs
        return [*self._build(needs), *self._answer_ready()]

    def _too_much(self, asked: PrepareAsked) -> str | None:
        """Return why the needs do not fit into memory; None if they do.

        The configured limit bounds the newest epochs of all streams, when the change is over. The free memory of the
        machine bounds the segments to load now, beside those of epochs that are still in use.
        """
        needs = {need.key: need for need in asked.needs}
        kept = [epoch for epoch, known in self._epochs.items() if known.phase is not LocalEpochPhase.RELEASED]
        for stream in {epoch.stream for epoch in kept} - {asked.epoch.stream}:
            newest = max((epoch for epoch in kept if epoch.stream == stream), key=lambda epoch: epoch.epoch)
            needs |= self._epochs[newest].needs
        total_bytes = _memory_bytes(needs.values())
        if self.memory_limit_bytes is not None and total_bytes > self.memory_limit_bytes:
            return f"{_mib(total_bytes)} are needed and {_mib(self.memory_limit_bytes)} are allowed"
        # Segments that are being built count as loaded: their memory was checked when the build was ordered.
        fresh = [need for need in asked.needs if need.key not in self._loaded | self._building]
        fresh_bytes = _memory_bytes(fresh)
        if asked.available_bytes is not None and fresh_bytes > asked.available_bytes:
            return f"{_mib(fresh_bytes)} more are needed and {_mib(asked.available_bytes)} are free"
        return None

    def _borrow(self, epoch: EpochKey, need: SegmentNeed, now_s: float) -> list[SegmentCommand]:
        known = self._epochs.get(epoch)
        if known is None:
            known = self._epochs[epoch] = _Epoch(LocalEpochPhase.RELEASED, {})
        known.needs[need.key] = need
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
            if known.phase is LocalEpochPhase.PREPARING and known.needs.keys() <= self._loaded:
                known.phase = _after(known.phase, SegmentStep.BUILT)
                commands.append(AnswerReady(epoch))
        return commands

    def _failed(self, key: SegmentKey, cause: RejectionCause, reason: str) -> list[SegmentCommand]:
        self._building.discard(key)
        commands: list[SegmentCommand] = []
        for epoch, known in tuple(self._epochs.items()):
            if key not in known.needs:
                continue
            if known.phase is LocalEpochPhase.PREPARING:
                commands.append(AnswerRejected(epoch, cause, reason))
            # Removed from the needs, so that the invariant holds; the next feature map that needs it tries again.
            del known.needs[key]
            known.phase = _after(known.phase, SegmentStep.FAILED)
            if known.phase is LocalEpochPhase.GONE:
                self._remove_rejected(epoch)
        return [*commands, *self._drop_unneeded()]

    def _remove_rejected(self, epoch: EpochKey) -> None:
        """Remove a rejected epoch, or keep it as RELEASED while feature maps use its segments."""
        known = self._epochs[epoch]
        if known.requests:
            known.phase = LocalEpochPhase.RELEASED
        else:
            del self._epochs[epoch]

    def _release(self, stream: str, through_epoch: int | None, now_s: float) -> list[SegmentCommand]:
        for epoch, known in self._epochs.items():
            if epoch.stream == stream and (through_epoch is None or epoch.epoch <= through_epoch):
                # Repeated releases must not prolong `linger_s`: the control handler releases with every plan.
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
        return self._drop_unneeded()

    def _drop_unneeded(self) -> list[SegmentCommand]:
        needed = {key for known in self._epochs.values() for key in known.needs}
        unneeded = sorted(self._loaded - needed)
        self._loaded.difference_update(unneeded)
        return [Drop(key) for key in unneeded]


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
