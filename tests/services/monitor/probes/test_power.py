"""Power from the kernel's files, laid out as real devices have them."""

from pathlib import Path

import pytest

from services.monitor.probes.power import PowerProbe


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def power_w(probe: PowerProbe, now_s: float) -> int | float | None:
    return probe.sample(now_s)["power_w"]


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    return tmp_path / "sys"


def test_without_sources_nothing_is_claimed(sysfs: Path) -> None:
    assert power_w(PowerProbe(sysfs), 1.0) is None


def test_rapl_counters_become_power_and_sub_zones_are_not_counted_twice(sysfs: Path) -> None:
    packages = sysfs / "class" / "powercap"
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        write(packages / zone, energy_uj="1000000\n", max_energy_range_uj="262143328850\n")
    probe = PowerProbe(sysfs)
    assert power_w(probe, 10.0) is None
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        write(packages / zone, energy_uj="7000000\n")
    assert power_w(probe, 12.0) == pytest.approx(6.0)


def test_a_counter_that_wraps_around_is_followed(sysfs: Path) -> None:
    zone = sysfs / "class" / "powercap" / "intel-rapl:0"
    write(zone, energy_uj="9000000\n", max_energy_range_uj="10000000\n")
    probe = PowerProbe(sysfs)
    power_w(probe, 0.0)
    write(zone, energy_uj="1000000\n")
    assert power_w(probe, 1.0) == pytest.approx(2.0)


def test_an_ina3221_gives_voltage_times_current_of_its_channels(sysfs: Path) -> None:
    write(
        sysfs / "class" / "hwmon" / "hwmon2", in1_input="5000", curr1_input="900", in2_input="3300", curr2_input="500"
    )
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(4.5 + 1.65)


def test_the_directory_of_power_management_is_no_power_monitor(sysfs: Path) -> None:
    chip = sysfs / "class" / "hwmon" / "hwmon2"
    write(chip, in1_input="5000", curr1_input="900", power__control="auto")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(4.5)


def test_a_power_monitor_is_taken_as_it_is(sysfs: Path) -> None:
    write(sysfs / "class" / "hwmon" / "hwmon0", power1_input="6400000", in1_input="5000", curr1_input="900")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(6.4)


def test_a_channel_with_a_present_and_an_average_value_counts_once(sysfs: Path) -> None:
    chip = sysfs / "class" / "hwmon" / "hwmon0"
    write(chip, power1_input="6400000", power1_average="6000000", power2_average="1000000")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(7.4)
    (chip / "power1_input").write_text("n/a")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(7.0)


def test_a_battery_tells_only_while_it_discharges(sysfs: Path) -> None:
    battery = sysfs / "class" / "power_supply" / "BAT0"
    write(battery, status="Charging\n", power_now="9000000\n")
    assert power_w(PowerProbe(sysfs), 0.0) is None
    write(battery, status="Discharging\n")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(9.0)
    (battery / "power_now").unlink()
    write(battery, current_now="1000000", voltage_now="12000000")
    assert power_w(PowerProbe(sysfs), 0.0) == pytest.approx(12.0)


def test_files_that_hold_no_number_are_ignored(sysfs: Path) -> None:
    write(sysfs / "class" / "hwmon" / "hwmon0", power1_input="n/a")
    write(sysfs / "class" / "powercap" / "intel-rapl:0", energy_uj="")
    probe = PowerProbe(sysfs)
    assert power_w(probe, 0.0) is None
    assert power_w(probe, 1.0) is None
