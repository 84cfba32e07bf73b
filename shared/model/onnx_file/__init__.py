"""The one package of `shared` that reads, writes and runs ONNX files."""

from shared.model.onnx_file.reading import load_model
from shared.model.onnx_file.verification import ChainReport, Verifier, verify_chain
from shared.model.onnx_file.writing import extract_segment, to_bytes, write_onnx

__all__ = ["ChainReport", "Verifier", "extract_segment", "load_model", "to_bytes", "verify_chain", "write_onnx"]
