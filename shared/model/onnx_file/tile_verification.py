"""Compares tiles with the segments that they divide, and a chain with tiles with the whole model."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.tiled_segment import TiledSegment
from shared.model.onnx_file.verification import ChainReport, OutputDifference, Verifier, chain_report, compare
from shared.model.weights import Array


@dataclass(frozen=True, slots=True)
class TileReport:
    """Differences of tiles.

    Attributes:
        chain: between the chain of segments, some of them as tiles, and the whole model.
        segments: between the tiles of a segment, put together, and the segment in one piece; by its place.
    """

    chain: ChainReport
    segments: Mapping[int, ChainReport]


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
    for level in Optimisation:
        crossing: Mapping[str, Array] = verifier.inputs
        for place, segment in enumerate(segments):
            whole = ModelSession(segment, level).run(crossing)
            if place in tiled:
                made = tiled[place].run(crossing, level)
                parts[place][level] = compare(whole, made)
                whole = made
            crossing = whole
        chain[level] = verifier.difference(level, crossing)
    return TileReport(chain_report(chain), {place: chain_report(found) for place, found in parts.items()})
