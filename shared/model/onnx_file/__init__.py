"""Reads, writes, splits and verifies ONNX files; the only package of `shared` that imports onnx."""

from shared.model.onnx_file.reading import load_model
from shared.model.onnx_file.splitting import ModelSplit, split
from shared.model.onnx_file.tile_choice import TileChoice
from shared.model.onnx_file.verification import ChainReport, Verifier, verify_chain
from shared.model.onnx_file.writing import extract_segment, to_bytes, write_onnx

__all__ = [
    "ChainReport",
    "ModelSplit",
    "TileChoice",
    "Verifier",
    "extract_segment",
    "load_model",
    "split",
    "to_bytes",
    "verify_chain",
    "write_onnx",
]
