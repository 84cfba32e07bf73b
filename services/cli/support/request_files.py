"""Files as requests carry them."""

import zipfile
from pathlib import Path

from shared.service_runtime import InputError

NAMED_TENSORS = ".npz"
"""The ending of files with a tensor for each of several inputs."""


def read_payload(file: Path) -> bytes:
    """Return a file as a request carries it: its bytes; of a .npz file, its tensors as a msgpack map by name.

    Raises:
        InputError: it cannot be read, or is no .npz file of tensors though it is called one.
    """
    try:
        return _named_tensors(file) if file.suffix.lower() == NAMED_TENSORS else file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error


def _named_tensors(file: Path) -> bytes:
    import msgpack
    import numpy as np

    try:
        with file.open("rb") as opened, np.lib.npyio.NpzFile(opened) as tensors:
            named = {
                name: {"dtype": array.dtype.name, "shape": array.shape, "data": array.tobytes()}
                for name, array in tensors.items()
            }
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is no .npz file of tensors: {error}") from error
    packed: bytes = msgpack.packb(named)
    return packed
