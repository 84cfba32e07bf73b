"""Compares tiles with the segments that they divide, and a chain with tiles with the whole model."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from shared.model.onnx_file.runtime import Optimisation
from shared.model.onnx_file.tiled_segment import TiledSegment
from shared.model.onnx_file.verification import ChainReport, OutputDifference, Verifier, chain_report, compare
from shared.model.tensor import DType
from shared.model.weights import Array


@dataclass(frozen=True)
class TileErrors(ChainReport):
    """Difference between the tiles of a segment, put together, and the segment in one piece.

    Attributes:
        runtime_rel_error: difference between the segment in one piece without optimisations and with all of them, as
            `max_rel_error`. Where rounding errors grow from layer to layer, it exceeds the tolerance of the types.
    """

    runtime_rel_error: float

    def agrees(self, computed: Iterable[DType]) -> bool:
        """Return whether kernels explain the difference: the tolerance, or what they do to the segment itself."""
        largest = max(self.max_rel_error, self.unoptimised_rel_error)
        return super().agrees(computed) or largest <= self.runtime_rel_error


@dataclass(frozen=True, slots=True)
class TileReport:
    """Differences of tiles.

    Attributes:
        chain: between the chain of segments, some of them as tiles, and the whole model.
        segments: of the tiles of each segment, by its place.
    """

    chain: ChainReport
    segments: Mapping[int, TileErrors]


def verify_tiles(verifier: Verifier, segments: Sequence[bytes], tiled: Mapping[int, TiledSegment]) -> TileReport:
    """Run a chain in which some segments are tiles, and compare every tiled segment and the outputs.

    Args:
        verifier: of the whole model.
        segments: in order, as `extract_segment` writes them.
        tiled: segments as tiles, by their place.

    Raises:
        RuntimeFailureError: ONNX Runtime refuses a segment or a tile.
    """
    chain: dict[Optimisation, OutputDifference] = {}
    parts: defaultdict[int, dict[Optimisation, OutputDifference]] = defaultdict(dict)
    # Differences of the segments in one piece without optimisations.
    own: dict[int, float] = {}
    for level in Optimisation:
        crossing: Mapping[str, Array] = verifier.inputs
        for place, segment in enumerate(segments):
            whole = verifier.session(segment, level).run(crossing)
            if place in tiled:
                made = tiled[place].run(crossing, level)
                parts[place][level] = compare(whole, made)
                if level is Optimisation.ALL:
                    plain = verifier.session(segment, Optimisation.NONE).run(crossing)
                    own[place] = compare(whole, plain).max_rel_error
                whole = made
            crossing = whole
        chain[level] = verifier.difference(level, crossing)
    found = {
        place: TileErrors(**asdict(chain_report(by_level)), runtime_rel_error=own[place])
        for place, by_level in parts.items()
    }
    return TileReport(chain_report(chain), found)
