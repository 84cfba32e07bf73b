"""Division of an ONNX file into segments, and of segments into tiles, verified against the whole."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.model.adaptation import Adaptation
from shared.model.onnx_file.reading import load_model
from shared.model.onnx_file.tile_choice import TileChoice, tile_segments
from shared.model.onnx_file.tile_verification import TileReport, verify_tiles
from shared.model.onnx_file.tiled_segment import TiledSegment
from shared.model.onnx_file.verification import ChainReport, Verifier
from shared.model.onnx_file.writing import extract_segment
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_bounds
from shared.time_limits import limit_for


@dataclass(frozen=True, slots=True)
class ModelSplit:
    """The segments of a model.

    Attributes:
        file_name: name of the ONNX file that was split.
        model: the whole model with its blocks and cuts.
        bounds: blocks `[start, stop)` of each segment.
        segments: each segment as the bytes of an ONNX file.
        report: difference between the chain of segments and the whole model.
        tiled: segments as tiles, by their place.
        untiled: why other segments have no tiles, by their place.
        tile_report: difference between tiles and segments, and the whole model.
    """

    file_name: str
    model: PartitionedModel
    bounds: tuple[tuple[int, int], ...]
    segments: tuple[bytes, ...]
    report: ChainReport
    tiled: Mapping[int, TiledSegment] = field(default_factory=dict)
    untiled: Mapping[int, str] = field(default_factory=dict)
    tile_report: TileReport | None = None

    def tiles_that_differ(self) -> tuple[int, ...]:
        """Return the places of segments whose tiles differ from them by more than the model's types explain."""
        if self.tile_report is None:
            return ()
        types = self.model.computed_types
        return tuple(place for place, found in self.tile_report.segments.items() if not found.agrees(types))

    def describe(self) -> dict[str, Any]:
        """Return the content of `split.json`: the model, its segments with inputs and outputs, and the report."""
        boundary = self.model.partition.boundary
        described = [
            {
                "file": f"segment_{index}.onnx",
                "inputs": boundary(start),
                "outputs": boundary(stop),
                "blocks": [start, stop],
                "size_bytes": len(data),
                **self._describe_tiles(index),
            }
            for index, ((start, stop), data) in enumerate(zip(self.bounds, self.segments, strict=True))
        ]
        model = {"file": self.file_name, "sha256": self.model.sha256}
        with_tiles = {} if self.tile_report is None else {"with_tiles": asdict(self.tile_report.chain)}
        return {"model": model, "segments": described, **asdict(self.report), **with_tiles}

    def _describe_tiles(self, segment: int) -> dict[str, Any]:
        if segment in self.untiled:
            return {"untileable": self.untiled[segment]}
        if segment not in self.tiled or self.tile_report is None:
            return {}
        described = self.tiled[segment].describe()
        for index, tile in enumerate(described["tiles"]):
            tile["file"] = _tile_file(segment, index)
        return {**described, "tile_errors": asdict(self.tile_report.segments[segment])}

    def write(self, folder: Path) -> None:
        """Write `segment_0.onnx`, `segment_1.onnx`, ... and `split.json` to `folder`, which is created if necessary.

        The tiles of segment 0 are `segment_0_tile_0.onnx`, `segment_0_tile_1.onnx`, ...

        Raises:
            OSError: `folder` or a file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        description = self.describe()
        for entry, data in zip(description["segments"], self.segments, strict=True):
            (folder / entry["file"]).write_bytes(data)
        for segment, tiled in self.tiled.items():
            for index, tile in enumerate(tiled.tiles):
                (folder / _tile_file(segment, index)).write_bytes(tile.data)
        (folder / "split.json").write_text(json.dumps(description, indent=2) + "\n")


def split(
    file: Path | str,
    at: Sequence[int],
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    adaptation: Adaptation | None = None,
    max_cut_tensors: int | None = None,
    seed: int = 0,
    tiles: TileChoice | None = None,
) -> ModelSplit:
    """Split an ONNX file before the blocks `at` and verify the chain of segments against the whole.

    Args:
        file: path of the ONNX file.
        at: cut indices, ascending; cut i lies before block i, so `[3, 7]` makes `[0, 3)`, `[3, 7)` and `[7, B)`. With
            none, the whole model is one segment.
        input_shapes: shapes of inputs that the file leaves open.
        adaptation: more choices of this kind.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay (see `find_partition`).
        seed: seed of the random input of the verification.
        tiles: tiles into which segments are divided; None for none.

    Raises:
        ModelFileError: the file is missing or is not a valid ONNX model.
        UnsupportedModelError: the model cannot be cut.
        CutError: the model has no such cut, or the cuts do not ascend.
        TileError: no segment can be tiled, or one cannot be tiled as chosen.
        RuntimeFailureError: ONNX Runtime refuses the model, a segment or a tile.
        TimeLimitError: a run of one of them does not end.
    """
    path = Path(file)
    shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    model = load_model(path, input_shapes=shapes, adaptation=adaptation, max_cut_tensors=max_cut_tensors)
    bounds = segment_bounds(model, tuple(at))
    tiled, untiled = ({}, {}) if tiles is None else tile_segments(model, bounds, tiles)
    segments = tuple(extract_segment(model, start, stop) for start, stop in bounds)
    verifier = Verifier(
        path,
        model.analysis.input,
        seed=seed,
        fixed_inputs=model.fixed_inputs,
        outputs=model.graph.outputs,
        limit_s=limit_for(model.analysis.flops),
    )
    report = verifier.verify(segments)
    tile_report = verify_tiles(verifier, segments, tiled) if tiled else None
    return ModelSplit(path.name, model, bounds, segments, report, tiled, untiled, tile_report)


def _tile_file(segment: int, tile: int) -> str:
    return f"segment_{segment}_tile_{tile}.onnx"
