"""Keys and numbers on disk: kept across restarts, changed by an operator, damaged, not writable."""

from pathlib import Path

import pytest

from services.executor.planner_trust import PlannerTrust, UntrustedPlanner
from services.executor.trust_files import KEYS_FILE, TrustFiles, read_keys, write_keys
from shared.exit_status import InputError
from shared.signatures import SIGNATURE_PROPERTY, SigningKey

OURS, THEIRS = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
PLAN = "streams/door/plan"


def opened(folder: Path) -> TrustFiles:
    files = TrustFiles(folder, PlannerTrust("pi", "root"))
    files.load()
    return files


def check(files: TrustFiles, key: SigningKey, number: int) -> None:
    files.trust.check({SIGNATURE_PROPERTY: key.sign(f"root/{PLAN}", b"plan", number)}, PLAN, b"plan")


async def test_the_first_key_and_the_numbers_survive_a_restart(tmp_path: Path) -> None:
    before = opened(tmp_path)
    check(before, OURS, 7)
    assert await before.synchronise() is False
    after = opened(tmp_path)
    with pytest.raises(UntrustedPlanner, match="older"):
        check(after, OURS, 6)
    with pytest.raises(UntrustedPlanner, match="follows planner key"):
        check(after, THEIRS, 9)


async def test_keys_that_an_operator_changes_count_at_once(tmp_path: Path) -> None:
    files = opened(tmp_path)
    check(files, OURS, 7)
    await files.synchronise()
    write_keys(tmp_path, (THEIRS.public,))
    assert await files.synchronise() is True
    check(files, THEIRS, 1)
    assert await files.synchronise() is False
    assert read_keys(tmp_path) == (THEIRS.public,)
    (tmp_path / KEYS_FILE).unlink()
    assert await files.synchronise() is True
    assert files.trust.keys == ()


async def test_keys_that_cannot_be_read_change_nothing_while_it_runs_and_stop_its_start(tmp_path: Path) -> None:
    files = opened(tmp_path)
    check(files, OURS, 7)
    await files.synchronise()
    (tmp_path / KEYS_FILE).write_text("no key\n")
    assert await files.synchronise() is False
    assert files.trust.keys == (OURS.public,)
    with pytest.raises(InputError, match="no key of a planner"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": 5}', '{"a": {"b": "c"}}', '{"a": {"b": -1}}', '{"a": {"b": 1e300}}']
)
def test_damaged_numbers_count_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "planner_numbers.json").write_text(text)
    check(opened(tmp_path), OURS, 1)


async def test_what_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "missing" / "deeper"
    files = opened(folder)
    (tmp_path / "missing").write_text("in the way")
    check(files, OURS, 7)
    assert await files.synchronise() is False
    (tmp_path / "missing").unlink()
    assert await files.synchronise() is False
    assert read_keys(folder) == (OURS.public,)
