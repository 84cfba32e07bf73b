"""A sample of the device: all probes together, on a thread of their own, because sensors may block."""

from collections.abc import Callable
from dataclasses import dataclass

from services.monitor.probes.cpu import CpuProbe
from services.monitor.probes.load import LoadProbe, LoadSample
from services.monitor.probes.memory import MemorySample, sample_memory
from services.monitor.probes.power import PowerProbe
from services.monitor.probes.temperature import sample_temperature


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """What the device says of itself now.

    Attributes:
        cpu_percent: use of all cores since the last sample, 0 to 100.
        memory: physical memory.
        temperature_c: of the processor; none if there is no sensor.
        power_w: what the device draws; none if nothing tells.
        load: the fixed computation; none if it was not asked for.
    """

    cpu_percent: float
    memory: MemorySample
    temperature_c: float | None = None
    power_w: float | None = None
    load: LoadSample | None = None


class DeviceSampler:
    """All probes of a device. Blocking: `sample` runs on a thread, always the same."""

    def __init__(self, clock: Callable[[], float], *, threads: int, emulated: bool) -> None:
        """Make the probes.

        Args:
            clock: monotonic seconds.
            threads: threads that segments use on this device.
            emulated: the machine is shared with other emulated devices.
        """
        self._clock = clock
        self._cpu = CpuProbe()
        self._power = PowerProbe()
        self._load = LoadProbe(threads=threads, emulated=emulated)

    def sample(self, *, with_load: bool) -> DeviceSample:
        """Read every sensor; compute for about two milliseconds if `with_load`."""
        return DeviceSample(
            cpu_percent=self._cpu.sample(),
            memory=sample_memory(),
            temperature_c=sample_temperature(),
            power_w=self._power.sample(self._clock()),
            load=self._load.sample() if with_load else None,
        )
