"""A model as it is given to a fleet: packed, so that a device fetches no more than its blocks need."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.bus.model_files.pieces import digest_pieces
from shared.messages.models import FilePacking, Manifest
from shared.model.errors import ModelFileError
from shared.model.partitioned_model import PartitionedModel

# A device fetches and verifies whole pieces. Manifests stay small with at most so many.
_LEAST_PIECE_BYTES: Final = 1024 * 1024
_MOST_PIECES: Final = 256


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A packed file, and the manifest that describes it."""

    manifest: Manifest
    file: Path


@contextmanager
def published_model(file: Path, manifest: Manifest, model: PartitionedModel) -> Iterator[PublishedModel]:
    """Pack a model for the time of the block; arguments and errors are those of `publish_into`."""
    with tempfile.TemporaryDirectory(prefix="segue-packed-") as folder:
        yield publish_into(Path(folder), file, manifest, model)


def publish_into(folder: Path, file: Path, manifest: Manifest, model: PartitionedModel) -> PublishedModel:
    """Write a packed file to a folder.

    Args:
        folder: of the packed file; made if it is missing.
        file: the ONNX file; it may keep weights in other files.
        manifest: its manifest, without packing.
        model: its content, as it was read from `file`.

    Raises:
        ModelError: weights are missing, or the packed model would have other blocks.
    """
    from shared.model.onnx_file.packed_file import pack_model

    shapes = {spec.name: spec.shape for spec in manifest.inputs}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        packed = pack_model(
            file,
            folder / f"{file.stem}.packed",
            sha256=manifest.model,
            input_shapes=shapes,
            max_cut_tensors=manifest.max_cut_tensors,
        )
        if packed.model.analysis.blocks != model.analysis.blocks:
            raise ModelFileError(
                f"{file} has other blocks when it is packed: this is a fault of Segue, please report it"
            )
        size_bytes = packed.path.stat().st_size
        piece_bytes = _piece_bytes(size_bytes)
        packing = FilePacking(
            graph_start=packed.graph_start,
            piece_bytes=piece_bytes,
            piece_sha256=b"".join(digest_pieces(packed.path, piece_bytes)),
        )
    except OSError as error:
        raise ModelFileError(f"cannot pack {file}: {error.strerror or error}") from error
    return PublishedModel(manifest.model_copy(update={"size_bytes": size_bytes, "packing": packing}), packed.path)


def _piece_bytes(size_bytes: int) -> int:
    piece_bytes = _LEAST_PIECE_BYTES
    while size_bytes > piece_bytes * _MOST_PIECES:
        piece_bytes *= 2
    return piece_bytes
