"""The planner's key and the numbers of its signatures across restarts, clock steps, damaged and lost files."""

import json
import stat
from pathlib import Path

import pytest

from services.planner import signer
from services.planner.signer import Signer
from shared.signatures import SigningKey, verified


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the present time in seconds, to be changed by a test."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(signer, "_clock_ms", lambda: int(1000 * now[0]))
    return now


def number(made: Signer) -> int:
    signature = verified(made.properties("streams/door/plan", b"x"), "root/streams/door/plan", b"x")
    assert signature is not None
    assert signature.key == made.public_key
    return signature.number


def test_numbers_follow_the_clock_and_grow(tmp_path: Path, clock: list[float]) -> None:
    made = Signer.open(tmp_path, "root")
    assert [number(made) for _ in range(3)] == [1_800_000_000_000 + each for each in range(3)]
    clock[0] += 1
    assert number(made) == 1_800_000_001_000


@pytest.mark.parametrize("step_s", [0.0, 1.0, -3600.0, -1_800_000_000.0, 1e9])
def test_numbers_grow_across_a_restart_whatever_the_clock_does(
    tmp_path: Path, clock: list[float], step_s: float
) -> None:
    before = Signer.open(tmp_path, "root")
    last = number(before)
    clock[0] += step_s
    after = Signer.open(tmp_path, "root")
    assert after.public_key == before.public_key
    assert number(after) > last


def test_numbers_beyond_the_reserved_ones_are_reserved_before_they_are_used(tmp_path: Path, clock: list[float]) -> None:
    made = Signer.open(tmp_path, "root")
    clock[0] += 100_000
    last = number(made)
    assert json.loads((tmp_path / "signing_key.json").read_text())["reserved"] > last
    clock[0] = 0.0
    assert number(Signer.open(tmp_path, "root")) > last


def test_the_key_is_readable_by_its_user_only(tmp_path: Path) -> None:
    Signer.open(tmp_path, "root")
    assert stat.S_IMODE((tmp_path / "signing_key.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"private": "ab", "reserved": 1}', '{"private": 5, "reserved": 1}']
)
def test_a_damaged_file_is_kept_aside_and_a_new_key_begins(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "signing_key.json").write_text(text)
    made = Signer.open(tmp_path, "root")
    assert (tmp_path / "signing_key.json.damaged-1").read_text() == text
    assert "new key" in caplog.text
    assert Signer.open(tmp_path, "root").public_key == made.public_key


def test_own_messages_are_recognised_and_numbers_go_on_after_them(tmp_path: Path, clock: list[float]) -> None:
    made = Signer.open(tmp_path, "root")
    clock[0] += 10_000_000
    later = made.properties("streams/door/plan", b"x")
    (tmp_path / "signing_key.json").write_text(
        json.dumps({"private": made.key.private.hex(), "reserved": 5})  # as in an old backup
    )
    clock[0] = 1.0
    restored = Signer.open(tmp_path, "root")
    assert restored.is_own(later, "streams/door/plan", b"x")
    assert number(restored) > 1_810_000_000_000


def test_messages_of_others_are_not_own(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    ours, theirs = Signer.open(tmp_path, "root"), Signer.open(tmp_path / "theirs", "root")
    topic, payload = "streams/door/plan", b"x"
    assert ours.is_own(ours.properties(topic, payload), topic, payload)
    for user in ({}, {"signature": "x"}, theirs.properties(topic, payload), ours.properties(topic, b"y")):
        assert not ours.is_own(user, topic, payload)


def test_a_given_key_is_used_and_replaces_that_of_the_folder(tmp_path: Path, clock: list[float]) -> None:
    own = Signer.open(tmp_path, "root")
    last = number(own)
    given = SigningKey.generate()
    made = Signer.open(tmp_path, "root", given.private.hex())
    assert made.public_key == given.public
    assert number(made) > last
    # It stays: a later start without the account signs with it too.
    assert Signer.open(tmp_path, "root").public_key == given.public
    (tmp_path / "signing_key.json").write_text("{", encoding="utf-8")
    assert Signer.open(tmp_path, "root", given.private.hex()).public_key == given.public
