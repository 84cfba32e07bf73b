import pytest

from services.executor.source.journal_clock import ClockBase, continued, read_boot_id

BEFORE = ClockBase("boot-1", 1_700_000_000.0)


@pytest.mark.parametrize("wall_s", [100.0, 1_700_003_600.0 + 50.0, 1_699_996_400.0])
def test_within_one_run_of_the_machine_the_wall_clock_has_no_part(wall_s: float) -> None:
    assert continued(BEFORE, "boot-1", 50.0, wall_s, 1_700_000_040.0) == BEFORE


def test_after_a_start_of_the_machine_the_wall_clock_tells_how_long_it_was_off() -> None:
    clock = continued(BEFORE, "boot-2", 3.0, 1_700_009_000.0, 1_700_000_040.0)
    assert clock == ClockBase("boot-2", 1_700_009_000.0 - 3.0)


def test_a_wall_clock_in_1970_leaves_the_time_where_it_ended() -> None:
    clock = continued(BEFORE, "boot-2", 3.0, 10.0, 1_700_000_040.0)
    assert clock.ahead_s + 3.0 == 1_700_000_040.0


def test_a_new_journal_begins_at_the_wall_clock() -> None:
    assert continued(None, "boot-1", 50.0, 1_700_000_050.0, 0.0) == BEFORE


def test_without_an_id_of_the_start_every_process_looks_at_the_wall_clock() -> None:
    assert continued(ClockBase("", 5.0), "", 50.0, 1_700_000_050.0, 0.0) == ClockBase("", 1_700_000_000.0)


def test_this_machine_has_an_id_of_its_start() -> None:
    assert read_boot_id() == read_boot_id()
