"""The ONNX graph as data: blocks, cuts, segments, reference architectures."""
