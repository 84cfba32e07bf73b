"""Division of an ONNX file into segments that are verified against the whole."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.model.adaptation import Adaptation
from shared.model.onnx_file.reading import load_model
from shared.model.onnx_file.verification import ChainReport, Verifier
from shared.model.onnx_file.writing import extract_segment
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_bounds


@dataclass(frozen=True, slots=True)
class ModelSplit:
    """The segments of a model.

    Attributes:
        file_name: name of the ONNX file that was split.
        model: the whole model with its blocks and cuts.
        bounds: blocks `[start, stop)` of each segment.
        segments: each segment as the bytes of an ONNX file.
        report: difference between the chain of segments and the whole model.
    """

    file_name: str
    model: PartitionedModel
    bounds: tuple[tuple[int, int], ...]
    segments: tuple[bytes, ...]
    report: ChainReport

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
            }
            for index, ((start, stop), data) in enumerate(zip(self.bounds, self.segments, strict=True))
        ]
        model = {"file": self.file_name, "sha256": self.model.sha256}
        return {"model": model, "segments": described, **asdict(self.report)}

    def write(self, folder: Path) -> None:
        """Write `segment_0.onnx`, `segment_1.onnx`, ... and `split.json` to `folder`, which is created if necessary.

        Raises:
            OSError: `folder` or a file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        description = self.describe()
        for entry, data in zip(description["segments"], self.segments, strict=True):
            (folder / entry["file"]).write_bytes(data)
        (folder / "split.json").write_text(json.dumps(description, indent=2) + "\n")


def split(
    file: Path | str,
    at: Sequence[int],
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    adaptation: Adaptation | None = None,
    max_cut_tensors: int | None = None,
    seed: int = 0,
) -> ModelSplit:
    """Split an ONNX file before the blocks `at` and verify the chain of segments against the whole.

    Args:
        file: path of the ONNX file.
        at: cut indices, ascending; cut i lies before block i, so `[3, 7]` makes `[0, 3)`, `[3, 7)` and `[7, B)`.
        input_shapes: shapes of inputs that the file leaves open.
        adaptation: more choices of this kind.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay (see `find_partition`).
        seed: seed of the random input of the verification.

    Raises:
        ModelFileError: the file is missing or is not a valid ONNX model.
        UnsupportedModelError: the model cannot be cut.
        CutError: the model has no such cut, or the cuts do not ascend.
        RuntimeFailureError: ONNX Runtime refuses the model or a segment.
    """
    path = Path(file)
    shapes = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    model = load_model(path, input_shapes=shapes, adaptation=adaptation, max_cut_tensors=max_cut_tensors)
    bounds = segment_bounds(model, tuple(at))
    segments = tuple(extract_segment(model, start, stop) for start, stop in bounds)
    verifier = Verifier(
        path, model.analysis.input, seed=seed, fixed_inputs=model.fixed_inputs, outputs=model.graph.outputs
    )
    report = verifier.verify(segments)
    return ModelSplit(path.name, model, bounds, segments, report)
