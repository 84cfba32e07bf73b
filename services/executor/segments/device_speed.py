"""How fast this device computes: its idle profiles, and, emulated, the pace it pretends. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.executor.segments.idle_profile import IdleProfile
from shared.messages.devices import Emulation
from shared.messages.models import Manifest

_GUESSED_FLOPS_PER_MS = 5e6
"""Five GFLOPS: only ranks jobs whose model is not profiled yet."""


@dataclass(slots=True)
class DeviceSpeed:
    """Idle profiles of the machine by model, and what the emulation makes of them."""

    emulated: bool = False
    _emulation: Emulation | None = field(default=None, init=False)
    _profiles: dict[str, IdleProfile] = field(default_factory=dict, init=False)

    @property
    def slowdown(self) -> float:
        """How many times slower than this machine the device is when idle."""
        return self._emulation.slowdown if self._emulation else 1.0

    @property
    def factor(self) -> float:
        """How many times slower than this idle machine the device is now."""
        return self._emulation.slowdown * self._emulation.load_factor if self._emulation else 1.0

    def emulate(self, emulation: Emulation) -> bool:
        """Pretend this from now on; say whether the published profiles change. Real devices ignore it."""
        if not self.emulated:
            return False
        before = self.slowdown
        self._emulation = emulation
        return self.slowdown != before

    def learn(self, model: str, profile: IdleProfile) -> None:
        """Take over what was measured on this machine."""
        self._profiles[model] = profile

    def models(self) -> tuple[str, ...]:
        """Return the models that have a profile."""
        return tuple(self._profiles)

    def idle(self, model: str) -> IdleProfile | None:
        """Return a model's profile as the fleet sees it: this machine's, times the slowdown."""
        profile = self._profiles.get(model)
        return profile.scaled(self.slowdown) if profile else None

    def expected_ms(self, manifest: Manifest, start: int, stop: int) -> float:
        """Return what a segment takes idle, or a guess that ranks segments of unprofiled models."""
        idle = self.idle(manifest.model)
        if idle is not None:
            return idle.segment_ms(start, stop)
        return sum(block.flops for block in manifest.blocks[start:stop]) / _GUESSED_FLOPS_PER_MS

    def nominal(
        self, model: str, start: int, stop: int, extra_ms: Callable[[], float]
    ) -> Callable[[float], float] | None:
        """Return how long a segment shall take, given how long it took; none on a real device.

        Args:
            model: SHA-256 of the file.
            start: first block.
            stop: the block behind the last.
            extra_ms: what was measured beside the segment (codecs), asked when it is over.
        """
        if not self.emulated:
            return None
        profile = self._profiles.get(model)
        factor = self.factor
        if profile is None:
            return lambda took_ms: factor * took_ms
        segment_ms = profile.segment_ms(start, stop)
        return lambda took_ms: factor * (segment_ms + extra_ms())
