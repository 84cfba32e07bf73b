"""Codecs: encodings in which feature maps travel instead of raw tensors."""

from shared.codecs.codec import Codec
from shared.codecs.errors import CodecError
from shared.codecs.known_codecs import RAW, CodecRegistry, load_registry, make_registry
from shared.codecs.spec import MAX_TENSOR_BYTES, Array, Buffer, TensorSpec
from shared.codecs.staged import StagedCodec
from shared.codecs.wire import EncodedTensor, ReceivedTensor, decode_tensor, encode_tensor, open_tensor, seal

__all__ = [
    "MAX_TENSOR_BYTES",
    "RAW",
    "Array",
    "Buffer",
    "Codec",
    "CodecError",
    "CodecRegistry",
    "EncodedTensor",
    "ReceivedTensor",
    "StagedCodec",
    "TensorSpec",
    "decode_tensor",
    "encode_tensor",
    "load_registry",
    "make_registry",
    "open_tensor",
    "seal",
]
