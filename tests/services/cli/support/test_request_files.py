"""Files as payloads of requests."""

import io
import zipfile
from pathlib import Path

import msgpack
import numpy as np
import pytest

from services.cli.support.request_files import read_limited_payload, read_payload, read_payloads, request_files
from shared.exit_status import InputError


def test_named_tensors_become_a_map_by_input(tmp_path: Path) -> None:
    left = np.arange(8, dtype=np.float32).reshape(1, 8)
    np.savez(tmp_path / "two.npz", left=left, right=left * 2)
    sent = msgpack.unpackb(read_payload(tmp_path / "two.npz"))
    assert set(sent) == {"left", "right"}
    assert sent["right"]["dtype"] == "float32"
    assert sent["right"]["shape"] == [1, 8]
    assert np.array_equal(np.frombuffer(sent["right"]["data"], np.float32).reshape(1, 8), left * 2)


def test_big_endian_and_column_order_tensors_keep_their_numbers(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "two.npz", big=values.astype(">f4"), columns=np.asfortranarray(values))
    for sent in msgpack.unpackb(read_payload(tmp_path / "two.npz")).values():
        assert np.array_equal(np.frombuffer(sent["data"], sent["dtype"]).reshape(sent["shape"]), values)


def test_a_folder_stands_for_its_pictures_and_tensors(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.TIFF", "c.npy", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "inner.jpg").mkdir()
    assert [file.name for file in request_files(tmp_path)] == ["a.TIFF", "b.jpg", "c.npy"]
    with pytest.raises(InputError, match="cannot read the folder"):
        request_files(tmp_path / "none")


def test_one_unreadable_file_does_not_hold_the_others_back(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(bytes(101))
    again, missing = tmp_path / "a.jpg", tmp_path / "missing.jpg"
    payloads, faults = read_payloads([tmp_path, missing, again], 100)
    assert payloads == [(again, b"a"), (again, b"a")]
    assert [file.name for file, _ in faults] == ["b.jpg", "missing.jpg"]
    assert "No such file" in faults[1][1]
    with pytest.raises(InputError, match="missing"):
        read_payloads([missing], 100)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures and no tensors"):
        read_payloads([tmp_path / "empty"], 100)


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


def test_what_has_no_end_is_not_read_for_ever() -> None:
    with pytest.raises(InputError, match="it has more than 1000 bytes"):
        read_limited_payload(Path("/dev/zero"), 1000)


def test_a_tensor_larger_than_memory_is_told(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("t.npy", header.getvalue())
    with pytest.raises(InputError, match="does not fit into memory"):
        read_payload(tmp_path / "t.npz")


def test_a_request_too_large_for_the_bus_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(101))
    assert read_limited_payload(file, 101) == bytes(101)
    with pytest.raises(InputError, match="it has 101 bytes, and at most 100 are read"):
        read_limited_payload(file, 100)
