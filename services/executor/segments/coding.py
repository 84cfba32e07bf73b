"""Encoding and decoding of tensors, with the numerical half of a codec in a small ONNX graph where that is faster."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from services.executor.segments.engine import EngineSettings, SegmentSession, load_session
from shared.codecs import (
    MAX_TENSOR_BYTES,
    RAW,
    Array,
    Buffer,
    CodecError,
    CodecRegistry,
    EncodedTensor,
    StagedCodec,
    TensorSpec,
    encode_tensor,
    open_tensor,
    seal,
)
from shared.model.onnx_file.codec_graph import (
    decoded_names,
    decoder_model,
    encoded_names,
    encoder_model,
    is_fusible,
    part_shapes,
)

_LOGGER = logging.getLogger(__name__)

# Tensors with fewer elements are encoded by numpy, which is as fast for them.
GRAPH_ELEMENTS: Final = 4096
# Number of graphs in the cache; each takes about 100 kB.
MAX_GRAPHS: Final = 64
_TENSOR: Final = "x"


class Coder:
    """Encodes and decodes with every codec of a registry. Threads may share it: `_lock` guards the cache of graphs.

    Attributes:
        registry: the codecs.
    """

    def __init__(self, registry: CodecRegistry, engine: EngineSettings, *, max_graphs: int = MAX_GRAPHS) -> None:
        """Create a coder whose graphs run on the CPU, with the threads of `engine`."""
        self.registry = registry
        # On the CPU even if segments use an accelerator: copies to it cost more than these small graphs.
        self._engine = replace(engine, provider="CPUExecutionProvider")
        self._max_graphs = max_graphs
        self._graphs: OrderedDict[tuple[bool, TensorSpec, str], SegmentSession] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, tensor: Array, codec: str) -> EncodedTensor:
        """Encode a tensor. Computes, so never call it on the event loop for large tensors.

        Raises:
            CodecError: there is no such codec, or it cannot represent the tensor.
        """
        spec = TensorSpec.of(tensor)
        implementation = self.registry.find(codec)
        if not isinstance(implementation, StagedCodec) or not _uses_graph(spec, implementation):
            return encode_tensor(tensor, implementation)
        kind = implementation.representation.name
        results = self._graph(True, spec, kind).run({_TENSOR: tensor})
        return _packed(implementation, spec, tuple(results[name] for name in encoded_names(_TENSOR, kind)))

    def pack(self, results: Mapping[str, Array], tensor: str, spec: TensorSpec, codec: str) -> EncodedTensor:
        """Return the payload of a tensor whose numerical half a segment's graph has encoded (`with_encoder`).

        Args:
            results: the segment's outputs by name.
            tensor: name of the encoded output.
            spec: type and shape of that output.
            codec: a codec of the segment's representation.

        Raises:
            CodecError: the codec cannot represent the tensor.
        """
        implementation = self.registry.find(codec)
        if not isinstance(implementation, StagedCodec):
            raise CodecError(f"no graph encodes as {codec}")
        return _packed(
            implementation,
            spec,
            tuple(results[name] for name in encoded_names(tensor, implementation.representation.name)),
        )

    def encode_or_raw(self, tensor: Array, codec: str) -> EncodedTensor:
        """Encode a tensor, or leave it raw if the codec cannot represent it: slower, but not wrong."""
        try:
            return self.encode(tensor, codec)
        except CodecError as error:
            _LOGGER.debug("a %s tensor travels raw instead of as %s: %s", tensor.shape, codec, error)
            return encode_tensor(tensor, self.registry.find(RAW))

    def decode(
        self,
        codec: str,
        dtype: str,
        shape: Sequence[int],
        payload: Buffer,
        *,
        limit_bytes: int = MAX_TENSOR_BYTES,
    ) -> Array:
        """Decode a payload that arrived with a header of `codec`, `dtype` and `shape`.

        Raises:
            CodecError: the payload does not fit its header, or is larger than `limit_bytes` when decoded.
        """
        received = open_tensor(codec, dtype, shape, payload, self.registry, limit_bytes=limit_bytes)
        spec, implementation = received.spec, received.codec
        if not isinstance(implementation, StagedCodec) or not _uses_graph(spec, implementation):
            return received.decode()
        kind = implementation.representation.name
        parts = zip(implementation.unpack(received.body, spec), part_shapes(spec, kind), strict=True)
        shaped = (part.reshape(part_shape) for part, part_shape in parts)
        values = dict(zip(decoded_names(_TENSOR, kind), shaped, strict=True))
        return self._graph(False, spec, kind).run(values)[_TENSOR]

    def _graph(self, encodes: bool, spec: TensorSpec, kind: str) -> SegmentSession:
        key = (encodes, spec, kind)
        with self._lock:
            session = self._graphs.get(key)
            if session is not None:
                self._graphs.move_to_end(key)
                return session
        # Loaded outside the lock, so that other threads can encode meanwhile. Two threads may load the same graph; one
        # is kept.
        make = encoder_model if encodes else decoder_model
        session = load_session(make(_TENSOR, spec, kind), self._engine)
        with self._lock:
            self._graphs[key] = session
            while len(self._graphs) > self._max_graphs:
                self._graphs.popitem(last=False)
        return session


def _packed(codec: StagedCodec, spec: TensorSpec, parts: tuple[Array, ...]) -> EncodedTensor:
    return seal(codec, spec, codec.pack(codec.representation.accept(parts), spec))


def _uses_graph(spec: TensorSpec, codec: StagedCodec) -> bool:
    return spec.elements >= GRAPH_ELEMENTS and is_fusible(spec, codec.representation.name)
