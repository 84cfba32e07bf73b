"""Exactness of cuts: outputs of two segments compared with the whole model, at every useful cut of 18 architectures.

    python -m benchmarks.cutting [--quick] [--out FILE] [NAME...]

Reported per cut: size in bytes, largest absolute and relative error of an output value, and whether all outputs are
equal bit for bit.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from rich.table import Table

from benchmarks.report import argument_parser, console, write
from shared.inference_runtime import onnxruntime
from shared.model.architectures import ARCHITECTURES, build
from shared.model.cuts import all_cuts
from shared.model.graph import Graph
from shared.model.materialise import materialise_weights, without_softmax
from shared.model.onnx_file import Verifier, extract_segment, load_model, to_bytes
from shared.model.partitioned_model import PartitionedModel

SEED: Final = 7
QUICK_MODELS: Final = (
    "tiny",
    "squeezenet",
    "mobilenetv2",
    "light_squeezenet",
    "light_shufflenet",
    "light_inception_v1",
)
QUICK_CUTS: Final = 3
# Models that the onnx package ships, with placeholders for weights.
LIGHT_MODELS: Final = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class CutResult:
    """Difference between the two segments of one cut and the whole model.

    Errors are those at the runtime's default optimisation (ALL). Relative errors refer to the largest output value.
    """

    index: int
    tensor: str
    size_bytes: int
    max_abs_error: float
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool
    unoptimised_rel_error: float


@dataclass(frozen=True)
class ModelCuts:
    """Results of all cuts of one model, and of the chain of all its blocks."""

    name: str
    sha256: str
    single_tensor_cuts: int
    useful_cuts: int
    cuts: tuple[CutResult, ...]
    chain_of_all_blocks: dict[str, Any]
    elapsed_s: float


def models(names: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Yield the named models; classifiers end before their softmax, which would hide differences."""
    for name in names:
        if name in ARCHITECTURES:
            yield name, build(name, SEED)
        else:
            placeholders = load_model(LIGHT_MODELS / f"{name}.onnx").graph
            yield name, without_softmax(materialise_weights(placeholders, SEED))


def measure(name: str, graph: Graph, *, most_cuts: int | None) -> ModelCuts:
    """Verify the cuts of one model; at most `most_cuts`, evenly spread, if it is given."""
    started = time.perf_counter()
    whole = to_bytes(graph)
    model = load_model(whole)
    verifier = Verifier(whole, model.analysis.input, seed=SEED)
    count = model.partition.block_count
    step = max(1, -(-(count - 1) // most_cuts)) if most_cuts else 1
    cuts = tuple(measure_cut(model, verifier, index) for index in range(1, count, step))
    blocks = [extract_segment(model, index, index + 1) for index in range(count)]
    return ModelCuts(
        name=name,
        sha256=hashlib.sha256(whole).hexdigest(),
        single_tensor_cuts=len(all_cuts(model.partition.live, 1)),
        useful_cuts=count - 1,
        cuts=cuts,
        chain_of_all_blocks=asdict(verifier.verify(blocks)),
        elapsed_s=round(time.perf_counter() - started, 1),
    )


def measure_cut(model: PartitionedModel, verifier: Verifier, index: int) -> CutResult:
    """Verify the two segments at one cut."""
    cut = model.analysis.cuts[index - 1]
    segments = [extract_segment(model, 0, index), extract_segment(model, index, model.partition.block_count)]
    return CutResult(index, cut.tensors[0].name, cut.size_bytes, **asdict(verifier.verify(segments)))


def table(results: Sequence[ModelCuts]) -> Table:
    """Return a table with one row for each model."""
    result = Table(
        title="two segments compared with the whole, at every cut",
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


def headline(results: Sequence[ModelCuts]) -> str:
    """Summarise the results in one line."""
    cuts = [cut for result in results for cut in result.cuts]
    exact = sum(cut.bit_exact for cut in cuts)
    worst = max(cut.max_rel_error for cut in cuts)
    return f"{exact} of {len(cuts)} cuts of {len(results)} models bit-exact, largest relative error {worst:.0e}"


def main() -> None:
    """Measure and print; write the results after every model, since a full run takes long."""
    known = [*ARCHITECTURES, *sorted(path.stem for path in LIGHT_MODELS.glob("*.onnx"))]
    parser = argument_parser("cutting", __doc__, quick="six small models, three cuts each")
    parser.add_argument("names", nargs="*", choices=[*known, []], default=[], help="models; all if none is given")
    options = parser.parse_args()
    names = options.names or (QUICK_MODELS if options.quick else known)
    results: list[ModelCuts] = []
    for name, graph in models(names):
        results.append(measure(name, graph, most_cuts=QUICK_CUTS if options.quick else None))
        console().print(f"{name}: {len(results[-1].cuts)} cuts in {results[-1].elapsed_s:.0f} s")
        write(options.out, document(results))
    console().print(table(results))
    console().print(headline(results))


def document(results: Sequence[ModelCuts]) -> dict[str, Any]:
    """Return the content of the results file: versions, seed, and the cuts of every model."""
    return {
        "headline": headline(results),
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "seed": SEED,
        "models": [asdict(result) for result in results],
    }


if __name__ == "__main__":
    main()
