"""Small ONNX models from ONNX's text form."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import numpy_helper, parser


def onnx_bytes(
    text: str,
    values_by_name: Mapping[str, ArrayLike] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    **initializers: ArrayLike,
) -> bytes:
    """Parse a graph such as `g (float[1,3] x) => (float[1,3] y) {y = Relu(x)}`, and add initializers."""
    model = parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "com.example" : 1]> {text}')
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values), name)
        for name, values in {**(values_by_name or {}), **initializers}.items()
    )
    data: bytes = model.SerializeToString()
    return data


def read_back(data: bytes) -> onnx.ModelProto:
    """Parse and fully check a model."""
    model: onnx.ModelProto = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    return model
