"""A model in one file, as a fleet takes it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.cli.support.manifest import read_model
from shared.model.adaptation import Adaptation
from shared.model.errors import ModelFileError
from shared.model.partitioned_model import PartitionedModel


@dataclass(frozen=True, eq=False)
class FleetModel:
    """A model, and its file for the fleet.

    Attributes:
        file: the user's file, or another one of the same name that also holds weights of other files, constants in the
            place of inputs, and only the outputs that are kept.
        content: what was read from `file`, with the values of those inputs of the user's file that became constants.
    """

    file: Path
    content: PartitionedModel


@contextmanager
def packed_model(
    file: Path, adaptation: Adaptation | None = None, max_cut_tensors: int | None = None
) -> Iterator[FleetModel]:
    """Return `pack_model` with a folder that lasts as long as the context."""
    with tempfile.TemporaryDirectory(prefix="segue-model-") as folder:
        yield pack_model(file, Path(folder), adaptation, max_cut_tensors)


def pack_model(
    file: Path, folder: Path, adaptation: Adaptation | None = None, max_cut_tensors: int | None = None
) -> FleetModel:
    """Read a model as a fleet would take it.

    Args:
        file: the ONNX file.
        folder: for a new file of the same name, which is written if the fleet cannot take the user's file as it is.
        adaptation: the user's choices where the file leaves something open.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay.

    Raises:
        ModelError: weights are missing, or the model is too large for one file, or Segue cannot adapt or cut it.
    """
    from shared.model.onnx_file.external_data import pack

    chosen = adaptation or Adaptation()
    try:
        packed, fixed = pack(file, folder, chosen)
    except OSError as error:
        raise ModelFileError(f"cannot pack {file} into one file: {error.strerror or error}") from error
    # A file whose graph was changed has static inputs.
    sizes = Adaptation() if chosen.changes_graph else chosen
    content = read_model(packed, sizes, max_cut_tensors)
    return FleetModel(packed, replace(content, fixed_inputs=fixed))
