"""Fusion of encoders into segments: which segments encode their outputs in their own graph.

Measured from frame in to frame out (docs/codecs.md), fusion behind useful cuts saves 0.05 to 0.15 ms of the sender's
1 to 8 ms. That holds for every encoding and tensor size, because the raw tensor is not copied out of the engine and
into another session. So encoders are fused wherever the operators allow it, with three exceptions:

- Tensors below `GRAPH_ELEMENTS`: numpy is as fast for them.
- Segments with more weights than `MAX_FUSED_PARAMETER_BYTES`. A plan that changes only the encoding would load them
  again beside those in use, to save a thousandth of their time.
- Providers other than the CPU: their numbers may differ in the last bit.

Decoders are not fused: in a receiver's 4 to 40 ms the gain is below the noise. Besides, a tensor that its codec cannot
represent travels raw, and a session with a decoder could not take it.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.executor.segments.coding import GRAPH_ELEMENTS
from services.executor.segments.engine import EngineSettings, load_session
from shared.codecs import StagedCodec, TensorSpec
from shared.codecs.staged import builtin_codecs
from shared.messages.models import Manifest
from shared.model.onnx_file.codec_graph import encoded_names, encoder_model, is_fusible

MAX_FUSED_PARAMETER_BYTES: Final = 64 * 1024 * 1024
_FLOAT_BYTES: Final = 4
_TIMED_RUNS: Final = 5
_REPRESENTATIONS: Final = {
    codec.name: codec.representation.name for codec in builtin_codecs() if isinstance(codec, StagedCodec)
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encoder in a segment's graph.

    Attributes:
        representation: name of the representation of the encoded outputs.
        outputs: the segment's own outputs, each of which is encoded.
        operators_ms: approximate time of the encoding in a run.
    """

    representation: str
    outputs: Mapping[str, TensorSpec]
    operators_ms: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the graph's outputs that hold the encoded tensors."""
        return tuple(name for output in self.outputs for name in encoded_names(output, self.representation))


def representation_of(codec: str) -> str:
    """Return the name of a built-in codec's representation; empty for others."""
    return _REPRESENTATIONS.get(codec, "")


def fused_encoding(codec: str, manifest: Manifest, start: int, stop: int, engine: EngineSettings) -> str:
    """Return the representation in which blocks `[start, stop)` encode their outputs; empty for none.

    Args:
        codec: codec of the outputs according to the plan.
        manifest: manifest of the model.
        start: first block.
        stop: the block behind the last.
        engine: provider of the segments.
    """
    representation = representation_of(codec)
    blocks = manifest.blocks[start:stop]
    large = TensorSpec(np.dtype(np.float32), (GRAPH_ELEMENTS,))
    # Blocks [0, 1) are `prepare` alone, which has no graph. Types and shapes of the outputs are in the file only, so
    # float32 is assumed here, and `with_encoder` refuses the rest.
    if not blocks or stop == 1 or "CPU" not in engine.provider or not is_fusible(large, representation):
        return ""
    if blocks[-1].output_bytes < GRAPH_ELEMENTS * _FLOAT_BYTES:
        return ""
    return representation if sum(block.parameter_bytes for block in blocks) <= MAX_FUSED_PARAMETER_BYTES else ""


def operators_ms(outputs: Mapping[str, TensorSpec], representation: str, engine: EngineSettings) -> float:
    """Return the time of the encoding operators, in ms, measured in sessions of their own.

    Profiles contain no encodings. So this time is subtracted from that of a run, before it is compared with the
    profile to estimate the load of the device.

    Raises:
        CannotPrepare: the engine does not load the operators.
    """
    total_s = 0.0
    for name, spec in outputs.items():
        session = load_session(encoder_model(name, spec, representation), engine)
        values = {name: np.zeros(spec.shape, spec.dtype)}
        times_s = []
        for _ in range(_TIMED_RUNS):
            started_s = time.perf_counter()
            session.run(values)
            times_s.append(time.perf_counter() - started_s)
        total_s += statistics.median(times_s)
    return 1000 * total_s
