"""Model of a stream in a planning problem: blocks, encodings, and the bytes of a request."""

import math
from collections.abc import Mapping

from planning.problem.problem import Block, Model
from services.planner.problems.allowed_encodings import FieldRecord, Place, offered, worthwhile
from services.planner.problems.snapshot import FleetSnapshot
from services.planner.problems.tiled_planning import row_profile
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest, Preprocessing
from shared.messages.streams import StreamDeclaration
from shared.policy import Policy

# Assumed size of a request with a photograph until the source reports the sizes that it receives.
DEFAULT_PHOTOGRAPH_BYTES = 100_000

_BYTES_PER_VALUE: Mapping[str, int] = {"float64": 8, "int64": 8, "float16": 2, "uint8": 1, "int8": 1, "bool": 1}


def model_of(
    manifest: Manifest,
    request_bytes: float,
    calibration: Calibration | None = None,
    policy: Policy | None = None,
    records: Mapping[Place, FieldRecord] | None = None,
    *,
    with_rows: bool = False,
) -> Model:
    """Return the model for a problem. Its block 0 is `prepare`, whose input is the request as it arrives.

    Args:
        manifest: of the model.
        request_bytes: size of a request.
        calibration: measured encodings; None for a model without.
        policy: bounds on the effect of encodings; None for the default policy.
        records: reports of shadow checks, which can rule out calibrated encodings.
        with_rows: whether stages may be split into tiles.
    """
    codecs = {} if calibration is None else offered(calibration, policy or Policy(), records)
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes or None,
            codecs=worthwhile(codecs.get(index, {}), block.output_bytes, policy or Policy()),
            # The outcome is made on one device.
            rows=row_profile(block) if with_rows and index + 1 < len(manifest.blocks) else None,
            ends_tiles=block.image_crosses or not with_rows,
        )
        for index, block in enumerate(manifest.blocks)
    )
    return Model(input_bytes=request_bytes, blocks=blocks)


def input_bytes(snapshot: FleetSnapshot, declaration: StreamDeclaration, manifest: Manifest) -> float:
    """Return the bytes of a request: as the source reports them, else of a photograph, else of the input tensors."""
    usage = snapshot.usage.get(declaration.stream)
    if usage is not None:
        return usage.input_bytes
    return DEFAULT_PHOTOGRAPH_BYTES if _takes_photographs(manifest.preprocessing) else _tensor_bytes(manifest)


def _takes_photographs(preprocessing: Preprocessing) -> bool:
    return preprocessing.kind == "image"


def _tensor_bytes(manifest: Manifest) -> float:
    return float(sum(math.prod(tensor.shape) * _BYTES_PER_VALUE.get(tensor.dtype, 4) for tensor in manifest.inputs))
