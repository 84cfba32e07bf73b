"""Exactness of tiles: segments as two to four tiles against the segments in one piece, for 20 models.

    python -m benchmarks.tiles_exact [--quick] [--out FILE] [--models DIR] [NAME...]

Every stretch of blocks that can be tiled is divided as a whole, into two, three and four equal tiles and into tiles of
random heights. Then each of its blocks is divided alone, into three equal tiles and tiles of random heights. Reported
are the largest difference of a value, relative to the largest value of its tensor, whether all values are equal bit
for bit at the runtime's optimisations ALL and EXTENDED, the operations that tiles repeat, and the node that ends the
stretch. Files in DIR, such as `efficientnet_lite0.onnx`, join the models.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

import services.cli.data as demo_data
from benchmarks.cutting import LIGHT_MODELS, models
from benchmarks.report import argument_parser, console, write
from shared.model.architectures import ARCHITECTURES
from shared.model.graph import Graph
from shared.model.onnx_file import load_model, to_bytes
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.tiled_segment import TiledSegment, tile_segment
from shared.model.onnx_file.verification import compare, random_inputs
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.stretches import tileable_stretches
from shared.model.tiles.tile_plan import segment_height, segment_nodes
from shared.model.weights import Array
from shared.row_ranges import RowRange, equal_ranges

SEED: Final = 11
COUNTS: Final = (2, 3, 4)
QUICK_MODELS: Final = ("tiny", "squeezenet", "googlenet", "mobilenetv2", "light_shufflenet")
LEVELS: Final = (Optimisation.ALL, Optimisation.EXTENDED)
DEMO_DATA: Final = Path(demo_data.__file__).parent
RANDOM_TILINGS: Final = 2


@dataclass(frozen=True, slots=True)
class TilingResult:
    """Difference between the tiles of a segment and the segment.

    Attributes:
        ranges: rows of each tile.
        max_rel_error: largest difference relative to the largest value of its tensor, at ALL.
        bit_exact: whether all values are equal at ALL.
        bit_exact_extended: the same at EXTENDED.
        overlap: operations that tiles repeat, as a share of the segment's.
    """

    ranges: tuple[RowRange, ...]
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool
    overlap: float


@dataclass(frozen=True, slots=True)
class StretchResult:
    """Results of one stretch of blocks that can be tiled.

    Attributes:
        blocks: of the model, `[start, stop)`.
        whole: tilings of the stretch as one segment, by their name: number of equal tiles, or `random`.
        parts: tilings of its blocks alone.
        end: what ends the stretch; empty at the end of the model.
    """

    blocks: tuple[int, int]
    whole: Mapping[str, TilingResult]
    parts: tuple[TilingResult, ...]
    end: str

    @property
    def tilings(self) -> tuple[TilingResult, ...]:
        """All tilings."""
        return (*self.whole.values(), *self.parts)


@dataclass(frozen=True, slots=True)
class ModelTiles:
    """Results of a model."""

    name: str
    sha256: str
    block_count: int
    stretches: tuple[StretchResult, ...]
    elapsed_s: float


class SegmentTrial:
    """A segment that has run in one piece, with which tilings are compared."""

    def __init__(self, graph: Graph) -> None:
        """Run the segment on random inputs at every level."""
        self._graph = graph
        self._values = random_inputs(graph.describe(graph.inputs), SEED)
        data = to_bytes(graph)
        self._whole: Mapping[Optimisation, Mapping[str, Array]] = {
            level: ModelSession(data, level).run(self._values) for level in LEVELS
        }
        self.height = segment_height(segment_nodes(graph))

    def run(self, ranges: tuple[RowRange, ...]) -> TilingResult:
        """Divide the segment, run its tiles and compare."""
        tiled: TiledSegment = tile_segment(self._graph, ranges)
        default, extended = (compare(self._whole[level], tiled.run(self._values, level)) for level in LEVELS)
        exact = default.bit_exact, extended.bit_exact
        return TilingResult(ranges, default.max_rel_error, *exact, round(tiled.overlap, 4))


def random_ranges(height: int, rng: random.Random) -> tuple[RowRange, ...]:
    """Return two to four ranges of random heights; fewer for an image with fewer rows."""
    count = min(rng.choice(COUNTS), height)
    cuts = sorted(rng.sample(range(1, height), count - 1))
    return tuple(zip((0, *cuts), (*cuts, height), strict=True))


def measure(name: str, model: PartitionedModel, *, most_blocks: int | None) -> ModelTiles:
    """Try the stretches of one model; at most `most_blocks` single blocks of each, if it is given."""
    started, rng = time.perf_counter(), random.Random(SEED)
    blocks = model.analysis.blocks
    results = []
    for start, stop in tileable_stretches(blocks, 0, len(blocks)):
        trial = SegmentTrial(segment_graph(model, start, stop))
        whole = {str(count): trial.run(equal_ranges(trial.height, count)) for count in COUNTS if count <= trial.height}
        whole |= {f"random {number}": trial.run(random_ranges(trial.height, rng)) for number in range(RANDOM_TILINGS)}
        parts = [] if stop - start == 1 else list(range(start, stop))[:most_blocks]
        tried = tuple(result for index in parts for result in _single(model, index, rng))
        end = f"{blocks[stop].untileable}" if stop < len(blocks) else ""
        results.append(StretchResult((start, stop), whole, tried, end))
    return ModelTiles(name, model.sha256, len(blocks), tuple(results), round(time.perf_counter() - started, 1))


def _single(model: PartitionedModel, index: int, rng: random.Random) -> Iterator[TilingResult]:
    trial = SegmentTrial(segment_graph(model, index, index + 1))
    yield trial.run(equal_ranges(trial.height, min(3, trial.height)))
    yield trial.run(random_ranges(trial.height, rng))


def table(results: Sequence[ModelTiles]) -> Table:
    """Return a table with one row for each stretch."""
    result = Table(
        title="tiles compared with their segment",
        caption="exact: tilings without any difference, at optimisation ALL and EXTENDED. Overlap: of the stretch in "
        "2, 3 and 4 equal tiles. Alone: the largest overlap of one of its blocks in 3",
    )
    for heading in HEADINGS:
        result.add_column(heading, overflow="fold")
    for row in rows(results):
        result.add_row(*row)
    return result


HEADINGS: Final = ("model", "blocks", "tilings", "ALL", "EXT.", "error", "overlap", "alone", "ended by")


def rows(results: Sequence[ModelTiles]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of every stretch."""
    for model in results:
        for stretch in model.stretches:
            tried = stretch.tilings
            # Every block is tried in equal tiles first, then in random ones.
            alone = max((part.overlap for part in stretch.parts[::2]), default=None)
            yield (
                model.name,
                f"{stretch.blocks[0]} to {stretch.blocks[1] - 1} of {model.block_count}",
                str(len(tried)),
                str(sum(tiling.bit_exact for tiling in tried)),
                str(sum(tiling.bit_exact_extended for tiling in tried)),
                f"{max(tiling.max_rel_error for tiling in tried):.0e}",
                ", ".join(f"{100 * stretch.whole[str(n)].overlap:.0f}" for n in COUNTS if str(n) in stretch.whole)
                + " %",
                "" if alone is None else f"{100 * alone:.0f} %",
                stretch.end,
            )
        if not model.stretches:
            yield (model.name, f"none of {model.block_count}", *[""] * (len(HEADINGS) - 2))


def markdown(results: Sequence[ModelTiles]) -> str:
    """Return the table as Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *rows(results)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def headline(results: Sequence[ModelTiles]) -> str:
    """Summarise the results in one line."""
    tried = [tiling for model in results for stretch in model.stretches for tiling in stretch.tilings]
    exact = sum(tiling.bit_exact for tiling in tried)
    worst = max((tiling.max_rel_error for tiling in tried), default=0.0)
    return f"{exact} of {len(tried)} tilings of {len(results)} models bit-exact, largest relative error {worst:.0e}"


def load(names: Sequence[str], folder: Path | None) -> Iterator[tuple[str, PartitionedModel]]:
    """Yield the named models: architectures, models of the onnx package, and files."""
    files = {path.stem: path for path in (*DEMO_DATA.glob("*.onnx"), *(folder.glob("*.onnx") if folder else ()))}
    for name in names:
        if name in files:
            yield name, load_model(files[name])
        else:
            yield from ((name, load_model(to_bytes(graph))) for name, graph in models([name]))


def main() -> None:
    """Measure and print; write the results after every model, since a full run takes long."""
    known = [*ARCHITECTURES, *sorted(path.stem for path in LIGHT_MODELS.glob("*.onnx"))]
    parser = argument_parser("tiles_exact", __doc__, quick="five small models, three blocks of each alone")
    parser.add_argument("names", nargs="*", default=[], help=f"models; all if none is given: {', '.join(known)}")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder with more ONNX files")
    parser.add_argument("--markdown", type=Path, help="file for the table as Markdown")
    options = parser.parse_args()
    files = sorted(path.stem for path in options.models.glob("*.onnx")) if options.models else []
    names = options.names or (QUICK_MODELS if options.quick else [*known, *dict.fromkeys(["squeezenet1.1", *files])])
    results: list[ModelTiles] = []
    for name, model in load(names, options.models):
        results.append(measure(name, model, most_blocks=3 if options.quick else None))
        console().print(f"{name}: {len(results[-1].stretches)} stretches in {results[-1].elapsed_s:.0f} s")
        write(options.out, document(results))
    console().print(table(results))
    console().print(headline(results))
    if options.markdown is not None:
        options.markdown.write_text(markdown(results), encoding="utf-8")


def document(results: Sequence[ModelTiles]) -> dict[str, Any]:
    """Return the content of the results file."""
    return {"headline": headline(results), "seed": SEED, "models": [asdict(result) for result in results]}


if __name__ == "__main__":
    main()
