import pytest

from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.idle_profile import IdleProfile
from shared.messages.devices import Emulation
from shared.messages.models import Manifest, ManifestBlock

PROFILE = IdleProfile((1.0, 2.0, 4.0), 0.5)
MANIFEST = Manifest(
    model="0" * 64,
    name="m",
    size_bytes=1,
    inputs=(),
    outputs=(),
    blocks=tuple(ManifestBlock(name=str(n), output_bytes=1, flops=n * 10**7) for n in range(3)),
)


def test_a_real_device_pretends_nothing() -> None:
    speed = DeviceSpeed(emulated=False)
    assert not speed.emulate(Emulation(device="d", slowdown=9.0))
    speed.learn(MANIFEST, PROFILE)
    assert speed.idle(MANIFEST.model) == PROFILE
    assert speed.nominal(MANIFEST.model, 0, 3, lambda: 0.0) is None
    assert speed.factor == 1.0


def test_an_emulated_device_takes_slowdown_times_load_times_the_profile() -> None:
    speed = DeviceSpeed(emulated=True)
    speed.learn(MANIFEST, PROFILE)
    assert speed.emulate(Emulation(device="d", slowdown=4.0, load_factor=3.0))
    nominal = speed.nominal(MANIFEST.model, 1, 3, lambda: 2.0)
    assert nominal is not None
    assert nominal(0.1) == pytest.approx(12 * (6.5 + 2.0))
    assert speed.idle(MANIFEST.model) == PROFILE.scaled(4.0)


def test_load_does_not_change_the_profile() -> None:
    speed = DeviceSpeed(emulated=True)
    speed.emulate(Emulation(device="d", slowdown=4.0))
    assert not speed.emulate(Emulation(device="d", slowdown=4.0, load_factor=2.0))


def test_without_a_profile_the_time_it_took_is_stretched() -> None:
    speed = DeviceSpeed(emulated=True)
    speed.emulate(Emulation(device="d", slowdown=2.0, load_factor=2.0))
    nominal = speed.nominal(MANIFEST.model, 0, 1, lambda: 0.0)
    assert nominal is not None
    assert nominal(5.0) == 20.0


def test_unprofiled_segments_are_ranked_by_their_operations() -> None:
    speed = DeviceSpeed()
    assert speed.expected_ms(MANIFEST, 0, 2) < speed.expected_ms(MANIFEST, 2, 3)
    speed.learn(MANIFEST, PROFILE)
    assert speed.expected_ms(MANIFEST, 0, 2) == pytest.approx(3.5)


def test_a_profile_of_an_earlier_description_predicts_nothing() -> None:
    speed = DeviceSpeed()
    speed.learn(MANIFEST, PROFILE)
    assert speed.graph(MANIFEST.model) == MANIFEST.graph_version()
    corrected = MANIFEST.model_copy(update={"max_cut_tensors": 2})
    assert speed.expected_ms(corrected, 0, 3) != speed.expected_ms(MANIFEST, 0, 3)
    renamed = MANIFEST.model_copy(update={"labels": ("cat",)})
    assert speed.expected_ms(renamed, 0, 3) == speed.expected_ms(MANIFEST, 0, 3)


def test_a_quota_slows_the_device_down_beside_the_emulation() -> None:
    speed = DeviceSpeed()
    assert not speed.limit(1.0)
    assert not speed.limit(1.02)
    assert speed.limit(4.0)
    assert (speed.slowdown, speed.factor) == (4.0, 4.0)
    assert not speed.limit(4.1)
    assert speed.limit(1.0)
    assert speed.slowdown == 1.0
