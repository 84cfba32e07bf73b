"""Segments of a model that are ready to run, and their construction from a model file."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings, SegmentSession, load_session
from services.executor.segments.fusion import Encoder, operators_ms, representation_of
from services.executor.segments.prepare import prepare
from services.executor.segments.segment_events import IN_ONE_PIECE, SegmentKey, SegmentNeed
from services.executor.segments.segment_rows import SegmentRows, rows_and_graph
from shared.bus.model_files.pieces import ByteRange
from shared.codecs import MAX_TENSOR_BYTES
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest
from shared.model.errors import CutError, ModelError, TileError, UnsupportedModelError
from shared.model.onnx_file import extract_segment, load_model
from shared.model.onnx_file.codec_graph import with_encoder
from shared.model.onnx_file.packed_file import open_packed, stored_ranges
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph

_LOGGER = logging.getLogger(__name__)

# Name of the only tensor before block 0: the bytes of the request.
REQUEST_TENSOR = "request"
# Time for an operator to end once the engine was told to stop.
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Blocks `[start, stop)` of a model, ready to run; block 0 is `prepare`, block k is block k-1 of the file.

    Attributes:
        key: the blocks, and the encoding of the outputs.
        manifest: manifest of the model.
        session: the loaded graph; None for a segment that is `prepare` alone.
        encoder: encoder in the graph, if there is one.
        rows: what it passes on to whom; None for a segment in one piece before another one in one piece.
    """

    key: SegmentKey
    manifest: Manifest
    session: SegmentSession | None
    encoder: Encoder | None = None
    rows: SegmentRows | None = None

    @property
    def largest_input_bytes(self) -> int:
        """Total size of the tensors that cross the cut before the segment, and so a bound on each of them.

        A tile needs no more than its segment.
        """
        return self.manifest.blocks[self.key.start - 1].output_bytes if self.key.start else MAX_TENSOR_BYTES

    @property
    def is_last(self) -> bool:
        """True if the segment ends where the model does."""
        return self.key.stop == len(self.manifest.blocks)

    @property
    def computed_rows(self) -> tuple[tuple[int, int], ...]:
        """Of each block of a tile, how many rows it computes, and how many there are; empty for a whole segment."""
        return () if self.rows is None else self.rows.computed

    @property
    def limit_s(self) -> float:
        """The longest time that a run may take; the engine is told to stop earlier, which it does between operators."""
        return math.inf if self.session is None else self.session.limit_s + _GRACE_S

    def encoder_for(self, codec: str) -> Encoder | None:
        """Return the encoder in the graph if it does the numerical half of `codec`, else None."""
        return self.encoder if self.encoder and self.encoder.representation == representation_of(codec) else None

    def run(
        self, tensors: Mapping[str, np.ndarray], *, encoded: bool = False, plain: bool = True
    ) -> dict[str, np.ndarray]:
        """Return the tensors that cross the cut behind the segment. Runs on the compute thread, one call at a time.

        Args:
            tensors: tensors that crossed the cut before the segment, or the request.
            encoded: whether to return the outputs of the encoder.
            plain: whether to return the tensors themselves; always true without an encoder.

        Raises:
            BadInput: the request's bytes are no input of the model.
            ExecutionFailed: the tensors do not fit, or the engine fails.
            MemoryError: the device has run out of memory.
        """
        values: Mapping[str, np.ndarray] = tensors
        if self.key.start == 0:
            values = prepare(tensors[REQUEST_TENSOR].tobytes(), self.manifest)
        if self.session is None:
            return dict(values)
        if self.rows is not None and self.rows.passing:
            return {**self.session.run(self.rows.fed(values)), **self.rows.kept(values)}
        if self.encoder is None:
            return self.session.run(values)
        names = (*(self.encoder.outputs if plain else ()), *(self.encoder.names if encoded else ()))
        return self.session.run(values, names)


def build_segments(
    path: Path, manifest: Manifest, keys: tuple[SegmentKey, ...], engine: EngineSettings
) -> dict[SegmentKey, Segment]:
    """Extract segments from a model file and load them. Takes up to seconds, so never call it on the event loop.

    Of a packed file, the graph and the weights of the blocks have to be there.

    Raises:
        CannotPrepare: the file does not fit the manifest, has no such blocks, or the engine does not load them.
    """
    model: PartitionedModel | None = None
    built: dict[SegmentKey, Segment] = {}
    for key in keys:
        if not 0 <= key.start < key.stop <= len(manifest.blocks):
            text = f"{manifest.name} has blocks [0, {len(manifest.blocks)}), not [{key.start}, {key.stop})"
            raise CannotPrepare(RejectionCause.ERROR, text)
        if key.stop == 1 and key.tiling == IN_ONE_PIECE:
            built[key] = Segment(key, manifest, None)
        else:
            model = model or open_model(path, manifest)
            built[key] = _built(model, key, manifest, engine, path.parent)
    return built


def rows_of(path: Path, manifest: Manifest, key: SegmentKey) -> SegmentRows | None:
    """Return what a segment passes on to whom, without loading it.

    Raises:
        CannotPrepare: as `build_segments`.
    """
    if key.tiling == IN_ONE_PIECE:
        return None
    return _rows_and_graph(open_model(path, manifest), key)[0]


def _built(
    model: PartitionedModel, key: SegmentKey, manifest: Manifest, engine: EngineSettings, weights_dir: Path
) -> Segment:
    rows, data = (None, None) if key.tiling == IN_ONE_PIECE else _rows_and_graph(model, key)
    if key.stop == 1:
        return Segment(key, manifest, None, rows=rows)
    return replace(_load(key, manifest, data or _extract(model, key), engine, weights_dir), rows=rows)


def _rows_and_graph(model: PartitionedModel, key: SegmentKey) -> tuple[SegmentRows, bytes | None]:
    try:
        return rows_and_graph(model, key)
    except TileError as error:
        # The blocks exist, but not as tiles: not a fault of the model.
        raise CannotPrepare(RejectionCause.ERROR, f"these tiles cannot run: {error}") from error
    except (CutError, ModelError) as error:
        raise CannotPrepare(RejectionCause.MODEL_INVALID, str(error)) from error
    except MemoryError as error:
        raise CannotPrepare(RejectionCause.MEMORY, "the tile does not fit into memory") from error


def open_model(path: Path, manifest: Manifest) -> PartitionedModel:
    """Read a model file, or the graph of a packed one, and check that it has the blocks of the manifest.

    Raises:
        CannotPrepare: the file is missing or no valid model, or does not fit into memory.
    """
    shapes = {spec.name: spec.shape for spec in manifest.inputs}
    try:
        if manifest.packing is None:
            model = load_model(path, input_shapes=shapes, max_cut_tensors=manifest.max_cut_tensors)
        else:
            model = open_packed(
                path,
                manifest.packing.graph_start,
                sha256=manifest.model,
                input_shapes=shapes,
                max_cut_tensors=manifest.max_cut_tensors,
            )
    except ModelError as error:
        raise CannotPrepare(RejectionCause.MODEL_INVALID, str(error)) from error
    except MemoryError as error:
        raise CannotPrepare(RejectionCause.MEMORY, f"{manifest.name} does not fit into memory") from error
    # Another version of this program may cut models elsewhere, and would run other blocks than the plan names.
    count, expected = len(model.analysis.blocks), len(manifest.blocks) - 1
    if count != expected:
        text = f"{manifest.name} has {count} blocks here and {expected} in its manifest: the versions differ"
        raise CannotPrepare(RejectionCause.MODEL_INVALID, text)
    return model


def weight_ranges(path: Path, manifest: Manifest) -> tuple[tuple[ByteRange, ...], ...]:
    """Return the places of the weights of each block in a packed file, of which only the graph has to be there.

    Raises:
        CannotPrepare: as `open_model`.
    """
    model = open_model(path, manifest)
    places = (
        stored_ranges(segment_graph(model, block, block + 1).weights) for block in range(len(manifest.blocks) - 1)
    )
    # Block 0 is `prepare`, which has no weights.
    return ((), *(tuple(ByteRange(start, stop) for start, stop in ranges) for ranges in places))


def need_of(manifest: Manifest, key: SegmentKey) -> SegmentNeed:
    """Return the memory needs of a segment: all parameters and the largest working set, of a tile its share of it."""
    blocks = manifest.blocks[key.start : key.stop]
    working_bytes = max((block.working_bytes for block in blocks), default=0)
    rows, described = key.tiling.row_range, blocks[-1].rows if blocks else None
    if rows is not None and described is not None:
        working_bytes = min(working_bytes, -(-working_bytes * (rows[1] - rows[0]) // described.output_rows))
    return SegmentNeed(key, sum(block.parameter_bytes for block in blocks), working_bytes)


def _load(key: SegmentKey, manifest: Manifest, data: bytes, engine: EngineSettings, weights_dir: Path) -> Segment:
    """Load a segment, with an encoder if the operators of its key's encoding exist."""
    flops = sum(block.flops for block in manifest.blocks[key.start : key.stop])
    if key.encoding:
        try:
            fused, outputs = with_encoder(data, key.encoding)
        except UnsupportedModelError as error:
            _LOGGER.info("the outputs of blocks [%d, %d) are encoded outside the graph: %s", key.start, key.stop, error)
        else:
            encoder = Encoder(key.encoding, outputs, operators_ms(outputs, key.encoding, engine))
            return Segment(key, manifest, load_session(fused, engine, weights_dir, flops=flops), encoder)
    return Segment(key, manifest, load_session(data, engine, weights_dir, flops=flops))


def _extract(model: PartitionedModel, key: SegmentKey) -> bytes:
    try:
        # Block k of the manifest is block k-1 of the file, and block 0 (`prepare`) is not in it.
        return extract_segment(model, max(0, key.start - 1), key.stop - 1)
    except (CutError, ModelError) as error:
        raise CannotPrepare(RejectionCause.MODEL_INVALID, str(error)) from error
    except MemoryError as error:
        raise CannotPrepare(RejectionCause.MEMORY, "the segment does not fit into memory") from error
