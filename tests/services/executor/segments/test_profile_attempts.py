import json
from pathlib import Path

import pytest

from services.executor.segments.profile_attempts import ProfileAttempts, count_oom_kills


def opened(folder: Path, *, now_s: float = 1000.0, oom_kills: int = 5) -> ProfileAttempts:
    return ProfileAttempts(folder / "profiles" / "m.attempts", now_s=now_s, oom_kills=oom_kills)


def test_a_measurement_that_ends_leaves_nothing(tmp_path: Path) -> None:
    attempts = opened(tmp_path)
    attempts.begin(1, 4)
    attempts.end(1, 4)
    assert opened(tmp_path).refusal(1, 4) is None
    attempts.forget()
    assert list((tmp_path / "profiles").iterdir()) == []


def test_a_group_is_measured_once_and_a_block_twice(tmp_path: Path) -> None:
    opened(tmp_path).begin(1, 4)
    second = opened(tmp_path)
    assert second.refusal(1, 4) == "measuring has ended the process"
    assert second.refusal(1, 2) is None
    second.begin(2, 3)
    third = opened(tmp_path)
    assert third.refusal(2, 3) is None
    third.begin(2, 3)
    fourth = opened(tmp_path)
    assert fourth.refusal(2, 3) == "measuring has ended the process twice"
    assert fourth.refusal(3, 4) is None
    fourth.begin(3, 4)
    fourth.end(3, 4)
    fourth.forget()
    assert opened(tmp_path).refusal(2, 3) is not None


def test_two_deaths_for_lack_of_memory_end_all_measuring(tmp_path: Path) -> None:
    opened(tmp_path, oom_kills=5).begin(1, 4)
    second = opened(tmp_path, oom_kills=6)
    second.begin(1, 2)
    second.end(1, 2)
    second.begin(2, 3)
    third = opened(tmp_path, oom_kills=7)
    assert third.refusal(1, 2) is None
    assert third.refusal(2, 3) == third.refusal(3, 4) == "measuring has ended the process for lack of memory twice"


def test_deaths_in_tiles_end_the_measuring_of_tiles_only(tmp_path: Path) -> None:
    opened(tmp_path, oom_kills=5).begin(1, 2, in_tiles=True)
    second = opened(tmp_path, oom_kills=6)
    assert second.refusal(1, 2, in_tiles=True) == "measuring tiles has ended the process"
    assert second.refusal(2, 3, in_tiles=True) is None
    second.begin(2, 3, in_tiles=True)
    third = opened(tmp_path, oom_kills=7)
    assert third.refusal(3, 4, in_tiles=True) is not None
    assert third.refusal(1, 2) is third.refusal(3, 4) is None


def test_the_note_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    running = {"start": 1, "stop": 4, "oom_kills": 5}
    death = {"start": 2, "stop": 3, "at_s": 999.0, "out_of_memory": False}
    note = {"deaths": [death, death], "measured": [], "running": running}
    (tmp_path / "profiles" / "m.attempts").write_text(json.dumps(note))
    found = opened(tmp_path)
    assert found.refusal(1, 4) is not None
    assert found.refusal(2, 3) == "measuring has ended the process twice"
    assert found.refusal(2, 3, in_tiles=True) is None


def test_deaths_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    opened(tmp_path, oom_kills=5).begin(1, 2)
    opened(tmp_path, oom_kills=6).begin(1, 2)
    opened(tmp_path, oom_kills=7)
    assert opened(tmp_path, now_s=4600.0).refusal(1, 2) is not None
    assert opened(tmp_path, now_s=4601.0).refusal(1, 2) is None
    assert opened(tmp_path, now_s=0.0).refusal(1, 2) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        '{"running": 1}',
        '{"running": {}}',
        '{"deaths": [1]}',
        '{"deaths": [{}], "running": null}',
        '{"measured": [1]}',
    ],
)
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "m.attempts").write_text(text)
    assert opened(tmp_path).refusal(1, 2) is None


def test_a_folder_that_cannot_be_written_does_not_prevent_measuring(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("in the way")
    attempts = opened(tmp_path)
    attempts.begin(1, 2)
    attempts.end(1, 2)
    assert attempts.refusal(1, 2) is None


def test_the_kernel_counts_its_kills(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3
    assert count_oom_kills(tmp_path / "nowhere") == -1


def test_the_note_names_what_is_measured(tmp_path: Path) -> None:
    opened(tmp_path).begin(2, 5)
    note = json.loads((tmp_path / "profiles" / "m.attempts").read_text())
    assert note == {"deaths": [], "measured": [], "running": {"start": 2, "stop": 5, "oom_kills": 5, "in_tiles": False}}
