"""Cutting is exact: every useful cut of eighteen architectures, two segments against the whole.

`python -m benchmarks.cutting [--quick] [--out FILE] [NAME...]`
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from rich.console import Console
from rich.table import Table

from shared.model.architectures import ARCHITECTURES, build
from shared.model.cuts import all_cuts
from shared.model.graph import Graph
from shared.model.materialise import materialise_weights, without_softmax
from shared.model.onnx_file import Verifier, extract_segment, load_model, to_bytes
from shared.model.partitioned_model import PartitionedModel

SEED = 7
QUICK_MODELS = ("tiny", "squeezenet", "mobilenetv2", "light_squeezenet", "light_shufflenet", "light_inception_v1")
QUICK_CUTS = 3
RESULTS = Path(__file__).parent / "results" / "cutting.json"
LIGHT_MODELS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class CutResult:
    """One cut: its two segments against the whole model.

    Errors are those at the runtime's default optimisation (ALL); relative ones refer to the largest output.
    """

    index: int
    tensor: str
    size_bytes: int
    max_abs_error: float
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool


@dataclass(frozen=True)
class ModelResult:
    """All cuts of one model, and the chain of all its blocks."""

    name: str
    sha256: str
    single_tensor_cuts: int
    useful_cuts: int
    cuts: tuple[CutResult, ...]
    chain_of_all_blocks: dict[str, Any]
    elapsed_s: float


def models(names: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Make the models asked for, one at a time; classifiers end before their softmax, which would hide differences."""
    for name in names:
        if name in ARCHITECTURES:
            yield name, build(name, SEED)
        else:
            placeholders = load_model(LIGHT_MODELS / f"{name}.onnx").graph
            yield name, without_softmax(materialise_weights(placeholders, SEED))


def measure(name: str, graph: Graph, *, most_cuts: int | None) -> ModelResult:
    """Verify the cuts of one model, at most `most_cuts` of them, evenly spread."""
    started = time.perf_counter()
    whole = to_bytes(graph)
    model = load_model(whole)
    verifier = Verifier(whole, model.analysis.input, seed=SEED)
    count = model.partition.block_count
    step = max(1, -(-(count - 1) // most_cuts)) if most_cuts else 1
    cuts = tuple(measure_cut(model, verifier, index) for index in range(1, count, step))
    blocks = [extract_segment(model, index, index + 1) for index in range(count)]
    return ModelResult(
        name=name,
        sha256=hashlib.sha256(whole).hexdigest(),
        single_tensor_cuts=len(all_cuts(model.partition.live, 1)),
        useful_cuts=count - 1,
        cuts=cuts,
        chain_of_all_blocks=asdict(verifier.verify(blocks)),
        elapsed_s=round(time.perf_counter() - started, 1),
    )


def measure_cut(model: PartitionedModel, verifier: Verifier, index: int) -> CutResult:
    """Verify the two segments that one cut makes."""
    cut = model.analysis.cuts[index - 1]
    segments = [extract_segment(model, 0, index), extract_segment(model, index, model.partition.block_count)]
    return CutResult(index, cut.tensors[0].name, cut.size_bytes, **asdict(verifier.verify(segments)))


def table(results: Sequence[ModelResult]) -> Table:
    """Sum up: one row per model."""
    result = Table(
        title="two segments against the whole, at every cut",
        caption="exact: cuts without any difference, at optimisation ALL and EXTENDED. Largest error at ALL, "
        "absolute and relative to the largest output",
    )
    for heading in ("model", "cuts", "useful", "tried", "ALL", "EXT.", "error", "relative"):
        result.add_column(heading, justify="left" if heading == "model" else "right", no_wrap=True)
    for row in results:
        result.add_row(
            row.name,
            str(row.single_tensor_cuts),
            str(row.useful_cuts),
            str(len(row.cuts)),
            str(sum(cut.bit_exact for cut in row.cuts)),
            str(sum(cut.bit_exact_extended for cut in row.cuts)),
            f"{max(cut.max_abs_error for cut in row.cuts):.1e}",
            f"{max(cut.max_rel_error for cut in row.cuts):.1e}",
        )
    return result


def main() -> None:
    """Measure, print a table and write the results as JSON, after every model."""
    known = [*ARCHITECTURES, *sorted(path.stem for path in LIGHT_MODELS.glob("*.onnx"))]
    parser = argparse.ArgumentParser(prog="benchmarks.cutting", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*known, []], default=[], help="models; all if none is given")
    parser.add_argument("--quick", action="store_true", help="six small models, three cuts each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the results")
    options = parser.parse_args()
    names = options.names or (QUICK_MODELS if options.quick else known)
    console = Console()
    results: list[ModelResult] = []
    for name, graph in models(names):
        results.append(measure(name, graph, most_cuts=QUICK_CUTS if options.quick else None))
        console.print(f"{name}: {len(results[-1].cuts)} cuts in {results[-1].elapsed_s:.0f} s")
        write(options.out, results)
    console.print(table(results))


def write(path: Path, results: Sequence[ModelResult]) -> None:
    """Write the results with what they depend on."""
    document = {
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "seed": SEED,
        "models": [asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
