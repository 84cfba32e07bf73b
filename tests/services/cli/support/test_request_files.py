"""Files as payloads of requests."""

from pathlib import Path

import msgpack
import numpy as np
import pytest

from services.cli.support.request_files import read_limited_payload, read_payload
from shared.service_runtime import InputError


def test_named_tensors_become_a_map_by_input(tmp_path: Path) -> None:
    left = np.arange(8, dtype=np.float32).reshape(1, 8)
    np.savez(tmp_path / "two.npz", left=left, right=left * 2)
    sent = msgpack.unpackb(read_payload(tmp_path / "two.npz"))
    assert set(sent) == {"left", "right"}
    assert sent["right"]["dtype"] == "float32"
    assert sent["right"]["shape"] == [1, 8]
    assert np.array_equal(np.frombuffer(sent["right"]["data"], np.float32).reshape(1, 8), left * 2)


@pytest.mark.parametrize("content", [b"", b"PK nothing", b"\x93NUMPY"])
def test_what_is_no_archive_of_tensors_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "two.npz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"two\.npz is no \.npz file of tensors"):
        read_payload(file)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", o=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"is no \.npz file"):
        read_payload(tmp_path / "o.npz")


def test_a_request_too_large_for_the_bus_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(101))
    assert read_limited_payload(file, 101) == bytes(101)
    with pytest.raises(InputError, match="has 101 bytes; a request has at most 100"):
        read_limited_payload(file, 100)
