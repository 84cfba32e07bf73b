"""Classes of operators: elementwise ones, and light ones next to which no cut is useful."""

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACTIVATIONS = _names(
    """Relu LeakyRelu PRelu Clip Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh Softplus Softsign
    ThresholdedRelu Exp Log Sqrt Erf Abs Neg Reciprocal Floor Ceil Round Sign Not Identity Cast Dropout"""
)
_ARITHMETIC = _names("Add Sub Mul Div Pow Min Max Sum Mean Where Equal Greater Less And Or")
_NORMALISATIONS = _names(
    """BatchNormalization LRN InstanceNormalization LayerNormalization GroupNormalization RMSNormalization"""
)
_QUANTISATION = _names("QuantizeLinear DequantizeLinear DynamicQuantizeLinear")
_REARRANGEMENTS = _names(
    """Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Pad Expand Tile Resize Upsample
    SpaceToDepth DepthToSpace"""
)
# Operators that compute an element of the output from the elements at its place in the inputs.
ELEMENTWISE: Final = (_ACTIVATIONS | _ARITHMETIC) - {"Dropout"}

# Operators that take little time beside moving their tensors. Only the smaller side of them is worth a cut.
LIGHT: Final = _ACTIVATIONS | _ARITHMETIC | _NORMALISATIONS | _QUANTISATION | _REARRANGEMENTS
