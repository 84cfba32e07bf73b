"""All probes together fill the telemetry, and a probe needs nothing but its registration."""

import itertools

from services.monitor.device_sampler import DeviceSampler, device_probes
from services.monitor.probes.device_probe import Readings
from shared.messages.devices import Telemetry


def test_every_probe_fills_fields_of_telemetry_that_no_other_fills() -> None:
    readings = [probe.sample(0.0) for probe in device_probes()]
    fields = [field for reading in readings for field in reading]
    assert set(fields) <= set(Telemetry.model_fields)
    assert len(fields) == len(set(fields))


def test_telemetry_takes_a_sample_of_this_machine() -> None:
    sample = DeviceSampler(lambda: 0.0, threads=1, emulated=False).sample(with_load=False)
    telemetry = Telemetry(device="pi", sent_at_s=0.0, **sample.readings)
    assert 0 < telemetry.memory_used_bytes < telemetry.memory_total_bytes
    assert 0.0 <= telemetry.cpu_percent <= 100.0


def test_a_registered_probe_appears_in_the_sample() -> None:
    class Thermometer:
        def sample(self, now_s: float) -> Readings:
            return {"temperature_c": 40.0 + now_s}

    clock = itertools.count(1)
    sampler = DeviceSampler(lambda: float(next(clock)), threads=1, emulated=False, probes=(Thermometer(),))
    assert sampler.sample(with_load=False).readings == {"temperature_c": 41.0}
    assert sampler.sample(with_load=False).readings == {"temperature_c": 42.0}


def test_the_load_is_computed_only_on_request() -> None:
    sampler = DeviceSampler(lambda: 0.0, threads=1, emulated=True, probes=())
    assert sampler.sample(with_load=False).load is None
    load = sampler.sample(with_load=True).load
    assert load is not None
    assert 0 < load.idle_ms <= load.measured_ms
