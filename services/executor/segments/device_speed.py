"""Computing speed of this device: idle profiles of its models, and the slowdown of an emulated device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.executor.segments.idle_profile import IdleProfile
from shared.messages.devices import Emulation
from shared.messages.models import Manifest

# 5 GFLOPS. Only ranks the jobs of models without a profile, so the absolute value hardly matters.
_ASSUMED_FLOPS_PER_MS = 5e6
# Relative change of the quota that does not count.
_QUOTA_NOISE = 0.05


@dataclass(slots=True)
class DeviceSpeed:
    """Idle profiles of this machine by model, scaled by the emulation.

    Profiles are stored as measured on the machine; everything that leaves this class is scaled.

    Attributes:
        emulated: whether the device obeys emulations.
    """

    emulated: bool = False
    _emulation: Emulation | None = field(default=None, init=False)
    _quota_factor: float = field(default=1.0, init=False)
    _profiles: dict[str, IdleProfile] = field(default_factory=dict, init=False)
    # `Manifest.graph_version` by which each profile was measured.
    _graphs: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def slowdown(self) -> float:
        """Slowdown of the idle device, as a factor on the times that were measured."""
        return self._quota_factor * (self._emulation.slowdown if self._emulation else 1.0)

    @property
    def factor(self) -> float:
        """Present slowdown of the device, as a factor on the times that were measured."""
        return self.slowdown * (self._emulation.load_factor if self._emulation else 1.0)

    def emulate(self, emulation: Emulation) -> bool:
        """Obey an emulation and return whether the published profiles change; a real device ignores it."""
        if not self.emulated:
            return False
        before = self.slowdown
        self._emulation = emulation
        return self.slowdown != before

    def limit(self, quota_factor: float) -> bool:
        """Note by which factor a quota of processor time slows the device down; return whether that has changed.

        Args:
            quota_factor: relative to the quota at the start, under which profiles were measured.
        """
        changed = abs(quota_factor - self._quota_factor) > _QUOTA_NOISE * self._quota_factor
        if changed:
            self._quota_factor = quota_factor
        return changed

    def learn(self, manifest: Manifest, profile: IdleProfile) -> None:
        """Store the profile of a model, as measured on this machine. It replaces that of an earlier description."""
        self._profiles[manifest.model] = profile
        self._graphs[manifest.model] = manifest.graph_version()

    def graph(self, model: str) -> str:
        """Return the `Manifest.graph_version` of a model's profile; empty without a profile."""
        return self._graphs.get(model, "")

    def models(self) -> tuple[str, ...]:
        """Return the models that have a profile."""
        return tuple(self._profiles)

    def idle(self, model: str) -> IdleProfile | None:
        """Return a model's profile as published: that of this machine times the slowdown."""
        profile = self._profiles.get(model)
        return profile.scaled(self.slowdown) if profile else None

    def expected_ms(self, manifest: Manifest, start: int, stop: int, rows: Sequence[tuple[int, int]] = ()) -> float:
        """Return the idle time of blocks `[start, stop)`, in ms; an estimate from FLOPs without a profile.

        Args:
            manifest: of the model.
            start: first block.
            stop: the block behind the last.
            rows: of each block of a tile, how many rows it computes, and how many there are.
        """
        idle = self.idle(manifest.model)
        if idle is not None and self.graph(manifest.model) == manifest.graph_version():
            return idle.tile_ms(start, rows) if rows else idle.segment_ms(start, stop)
        shares = [count / of for count, of in rows] or [1.0] * (stop - start)
        blocks = zip(manifest.blocks[start:stop], shares, strict=True)
        return sum(share * block.flops for block, share in blocks) / _ASSUMED_FLOPS_PER_MS

    def nominal(
        self, model: str, start: int, stop: int, extra_ms: Callable[[], float], rows: Sequence[tuple[int, int]] = ()
    ) -> Callable[[float], float] | None:
        """Return a function from the measured to the emulated time of a segment, in ms; None on a real device.

        With a profile the emulated time does not depend on the measured one, so that it has no noise of this machine.

        Args:
            model: SHA-256 of the file.
            start: first block.
            stop: the block behind the last.
            extra_ms: returns the measured time of the codecs; called when the segment has run.
            rows: of each block of a tile, how many rows it computes, and how many there are.
        """
        if not self.emulated:
            return None
        profile = self._profiles.get(model)
        # Taken now: a job that waits runs at the load factor of the time when it was queued.
        factor = self.factor
        if profile is None:
            return lambda measured_ms: factor * measured_ms
        segment_ms = profile.tile_ms(start, rows) if rows else profile.segment_ms(start, stop)
        return lambda measured_ms: factor * (segment_ms + extra_ms())
