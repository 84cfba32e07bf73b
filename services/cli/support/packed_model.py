"""A model in one file, as a fleet takes it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.model.errors import ModelFileError


@contextmanager
def packed_model(file: Path) -> Iterator[Path]:
    """Return `file`, or a temporary file of the same name that also holds the weights stored in other files.

    Raises:
        ModelError: weights are missing, or the model is too large for one file.
    """
    with tempfile.TemporaryDirectory(prefix="segue-model-") as folder:
        yield pack_into(file, Path(folder))


def pack_into(file: Path, folder: Path) -> Path:
    """Return `file`, or a file of the same name in `folder` that also holds the weights stored in other files.

    Raises:
        ModelError: weights are missing, or the model is too large for one file.
    """
    from shared.model.onnx_file.external_data import pack

    try:
        return pack(file, folder)
    except OSError as error:
        raise ModelFileError(f"cannot pack {file} into one file: {error.strerror or error}") from error
