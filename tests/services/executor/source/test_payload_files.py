import os
import resource
from pathlib import Path

import pytest

from services.executor.source.payload_files import MIN_FILE_BYTES, PayloadFiles

PAYLOAD = os.urandom(2 * MIN_FILE_BYTES)


def test_a_payload_comes_back_from_another_process(tmp_path: Path) -> None:
    file = PayloadFiles(tmp_path / "payloads").write(memoryview(PAYLOAD))
    assert file is not None
    assert PayloadFiles(tmp_path / "payloads").read(file) == PAYLOAD


def test_small_payloads_have_no_file(tmp_path: Path) -> None:
    assert PayloadFiles(tmp_path / "payloads").write(bytes(MIN_FILE_BYTES - 1)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damaged", [b"", PAYLOAD[:-1], PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1]), PAYLOAD + b"x"])
def test_a_damaged_file_is_no_payload(tmp_path: Path, damaged: bytes) -> None:
    files = PayloadFiles(tmp_path)
    file = files.write(PAYLOAD)
    assert file is not None
    (tmp_path / file.name).write_bytes(damaged)
    assert files.read(file) is None


def test_a_refused_write_leaves_nothing(tmp_path: Path) -> None:
    files = PayloadFiles(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert files.write(PAYLOAD) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == []


def test_files_follow_their_transaction(tmp_path: Path) -> None:
    files = PayloadFiles(tmp_path)
    kept = files.write(PAYLOAD)
    files.committed()
    lost = files.write(PAYLOAD)
    assert kept is not None
    assert lost is not None
    files.discard(kept.name)
    files.rolled_back()
    assert [files.holds(file) for file in (kept, lost)] == [True, False]
    files.discard(kept.name)
    files.committed()
    assert not files.holds(kept)


def test_files_that_go_while_they_are_synchronised_are_passed_over(tmp_path: Path) -> None:
    files = PayloadFiles(tmp_path / "payloads")
    files.sync()
    file = files.write(PAYLOAD)
    assert file is not None
    (tmp_path / "payloads" / "dangling").symlink_to("nowhere")
    files.sync()
    assert files.read(file) == PAYLOAD
