"""Engines that lack what a model needs."""

from typing import Any

import pytest

from shared.engine_limits import engine_refusals, with_refusals
from shared.messages.devices import REFUSED_MS, BlockRefusal, Capabilities, Profile
from shared.messages.models import Manifest, ManifestBlock, OperatorSet

BLOCKS = tuple(
    ManifestBlock(name=f"b{index}", output_bytes=1, domains=("com.microsoft",) if index == 2 else ())
    for index in range(4)
)
MANIFEST = Manifest(
    model="a" * 64,
    name="net",
    size_bytes=1,
    inputs=(),
    outputs=(),
    blocks=BLOCKS,
    opsets=(OperatorSet(domain="", version=21), OperatorSet(domain="com.microsoft", version=1)),
)
PROFILE = Profile(device="pi", model="a" * 64, block_ms=(1.0, 2.0, 3.0, 4.0))


def engine(**changes: Any) -> Capabilities:
    fields = {"runtime": "onnxruntime 1.17.0", "opset": 21, "domains": ("ai.onnx.ml", "com.microsoft")}
    return Capabilities(**(fields | {"providers": ("CPUExecutionProvider",)} | changes))


def refuses(capabilities: Capabilities) -> tuple[tuple[int, int, str], ...]:
    return tuple((each.start, each.stop, each.reason) for each in engine_refusals(capabilities, MANIFEST))


@pytest.mark.parametrize(
    "capabilities",
    [engine(), engine(opset=22), engine(opset=0), engine(domains=()), engine(providers=()), Capabilities()],
)
def test_an_engine_that_has_everything_or_does_not_tell_refuses_nothing(capabilities: Capabilities) -> None:
    assert refuses(capabilities) == ()


@pytest.mark.parametrize(
    ("capabilities", "refusals"),
    [
        (
            engine(opset=20),
            ((1, 4, "the model needs opset 21, and onnxruntime 1.17.0 runs up to opset 20"),),
        ),
        (
            engine(opset=20, runtime=""),
            ((1, 4, "the model needs opset 21, and its engine runs up to opset 20"),),
        ),
        (
            engine(provider="CUDAExecutionProvider"),
            ((1, 4, "onnxruntime 1.17.0 has no provider CUDAExecutionProvider, but CPUExecutionProvider"),),
        ),
        (
            engine(domains=("ai.onnx.ml",)),
            ((2, 3, "onnxruntime 1.17.0 has no operators of com.microsoft"),),
        ),
    ],
)
def test_what_an_engine_lacks_is_refused_with_the_reason(
    capabilities: Capabilities, refusals: tuple[tuple[int, int, str], ...]
) -> None:
    assert refuses(capabilities) == refusals


def test_refused_blocks_are_never_planned() -> None:
    one = (BlockRefusal(start=2, stop=3, reason="no operators"),)
    merged = with_refusals(PROFILE, one, MANIFEST)
    assert merged is not None
    assert (merged.block_ms, merged.refusals) == ((1.0, 2.0, REFUSED_MS, 4.0), one)
    assert with_refusals(PROFILE, (), MANIFEST) == PROFILE
    # The other blocks have to be measured.
    assert with_refusals(None, one, MANIFEST) is None
    whole = with_refusals(None, (BlockRefusal(start=1, stop=4, reason="too old"),), MANIFEST)
    assert whole is not None
    assert (whole.block_ms, whole.refusals[0].reason) == ((), "too old")


def test_a_manifest_that_names_its_operators_is_the_same_version() -> None:
    plain = MANIFEST.model_copy(
        update={"opsets": (), "blocks": tuple(block.model_copy(update={"domains": ()}) for block in BLOCKS)}
    )
    assert (plain.version(), plain.graph_version()) == (MANIFEST.version(), MANIFEST.graph_version())
