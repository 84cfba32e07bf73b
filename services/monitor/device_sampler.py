"""Samples a device: runs all its probes, and the load probe on request."""

from collections.abc import Callable
from dataclasses import dataclass

from services.monitor.probes.cpu import CpuProbe
from services.monitor.probes.device_probe import DeviceProbe, Readings
from services.monitor.probes.load import LoadProbe, LoadSample
from services.monitor.probes.memory import MemoryProbe
from services.monitor.probes.power import PowerProbe
from services.monitor.probes.temperature import TemperatureProbe


def device_probes() -> tuple[DeviceProbe, ...]:
    """Return new probes of everything that telemetry reports; a probe is registered by a line here."""
    return (
        CpuProbe(),
        MemoryProbe(),
        TemperatureProbe(),
        PowerProbe(),
    )


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """The state of the device at one moment.

    Attributes:
        readings: values of all probes, by field of `Telemetry`.
        load: the fixed computation; none if it was not requested.
    """

    readings: Readings
    load: LoadSample | None = None


class DeviceSampler:
    """All probes of a device.

    Sensors may block, and the load probe computes: `sample` runs on a thread, always the same.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        threads: int,
        emulated: bool,
        probes: tuple[DeviceProbe, ...] | None = None,
    ) -> None:
        """Make the probes.

        Args:
            clock: monotonic seconds.
            threads: threads that segments use on this device.
            emulated: whether other emulated devices share the machine.
            probes: sampled in this order; none for all of `device_probes`.
        """
        self._clock = clock
        self._probes = device_probes() if probes is None else probes
        self._load = LoadProbe(threads=threads, emulated=emulated)

    def sample(self, *, with_load: bool) -> DeviceSample:
        """Read every sensor; compute for about a millisecond if `with_load`."""
        readings: dict[str, int | float | None] = {}
        for probe in self._probes:
            readings.update(probe.sample(self._clock()))
        return DeviceSample(readings, self._load.sample() if with_load else None)
