"""Files as payloads of requests."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from shared.bounded_read import read_at_most
from shared.exit_status import InputError
from shared.messages.requests import PICTURE_SUFFIXES, TENSOR_SUFFIXES

if TYPE_CHECKING:
    import numpy as np

# Suffix of files that hold one named tensor per input.
NAMED_TENSORS = ".npz"
# No MQTT packet is larger (MQTT 5.0, 1.5.5).
_MAX_PAYLOAD_BYTES = 268_435_455


def request_files(folder: Path) -> list[Path]:
    """Return the pictures and tensors in a folder, by name, without hidden files.

    Raises:
        InputError: the folder cannot be read.
    """
    suffixes = (*PICTURE_SUFFIXES, *TENSOR_SUFFIXES, NAMED_TENSORS)
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return [file for file in files if file.suffix.lower() in suffixes]


def read_payload(file: Path, max_bytes: int = _MAX_PAYLOAD_BYTES) -> bytes:
    """Return a file's bytes as a payload. A .npz file becomes a msgpack map of its tensors by name.

    Raises:
        InputError: the file cannot be read, has more than `max_bytes`, or is a .npz file without tensors.
    """
    try:
        return _named_tensors(file) if file.suffix.lower() == NAMED_TENSORS else read_at_most(file, max_bytes)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error


def read_limited_payload(file: Path, max_bytes: int) -> bytes:
    """Return a file as a payload of at most `max_bytes`.

    Raises:
        InputError: the file cannot be read or is too large.
    """
    payload = read_payload(file, max_bytes)
    if len(payload) > max_bytes:
        raise InputError(f"{file} has {len(payload)} bytes; a request has at most {max_bytes}")
    return payload


def read_payloads(paths: Iterable[Path], max_bytes: int) -> tuple[list[tuple[Path, bytes]], list[tuple[Path, str]]]:
    """Return the payloads of files and of those in folders, and the faults of files that cannot be read.

    Raises:
        InputError: no file can be read.
    """
    payloads: list[tuple[Path, bytes]] = []
    faults: list[tuple[Path, str]] = []
    for path in paths:
        for file in request_files(path) if path.is_dir() else [path]:
            try:
                payloads.append((file, read_limited_payload(file, max_bytes)))
            except InputError as error:
                faults.append((file, str(error)))
    if not payloads:
        raise InputError("\n".join(text for _, text in faults) or "the folders hold no pictures and no tensors")
    return payloads, faults


def _little_endian_bytes(array: "np.ndarray") -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _named_tensors(file: Path) -> bytes:
    import msgpack
    import numpy as np

    try:
        with file.open("rb") as opened, np.lib.npyio.NpzFile(opened) as tensors:
            named = {
                name: {"dtype": array.dtype.name, "shape": array.shape, "data": _little_endian_bytes(array)}
                for name, array in tensors.items()
            }
    except MemoryError as error:
        raise InputError(f"{file} does not fit into memory") from error
    # Of damaged archives, of those with a password, and of unknown methods of compression.
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InputError(f"{file} is no .npz file of tensors: {error}") from error
    packed: bytes = msgpack.packb(named)
    return packed
