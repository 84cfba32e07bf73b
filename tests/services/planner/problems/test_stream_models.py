"""Models of streams in problems: the bytes of a request, and the encodings that the policy allows."""

from collections.abc import Mapping

from planning.problem.problem import CodecProfile
from services.planner.problems.snapshot import PolicySet
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration
from shared.messages.models import Preprocessing
from shared.messages.streams import StreamUsage
from shared.policy import Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import problem_of, world


def test_the_size_of_a_request_is_what_the_source_sees() -> None:
    assert problem_of(world(StreamUsage(stream="camera", input_bytes=23_456))).models[MODEL].input_bytes == 23_456


def test_a_tensor_is_sent_as_it_is() -> None:
    manifest = manifest_of().model_copy(update={"preprocessing": Preprocessing()})
    assert problem_of(world(manifest)).models[MODEL].input_bytes == 4 * 3 * 224 * 224


def calibration() -> Calibration:
    def codec(name: str, error: float) -> CodecCalibration:
        return CodecCalibration(
            codec=name, size_bytes=10, worst_size_bytes=20, encode_ms=1.0, decode_ms=2.0, max_relative_error=error
        )

    codecs = (codec("raw", 0.0), codec("float16", 0.001), codec("uint4", 0.2))
    return Calibration(model=MODEL, blocks=(BlockCalibration(block=1, raw_bytes=100, codecs=codecs),), samples=3)


def test_encodings_come_from_the_calibration_within_the_bound() -> None:
    def codecs(policy: Policy, found: Calibration) -> Mapping[str, CodecProfile]:
        return problem_of(world(found, PolicySet("camera", policy))).models[MODEL].blocks[1].codecs

    free = codecs(Policy(), calibration())
    assert set(free) == {"float16"}
    profile = free["float16"]
    assert (profile.size_bytes, profile.encode_ms, profile.decode_ms, profile.relative_error) == (10, 1.0, 2.0, 0.001)
    assert set(codecs(Policy(max_relative_error=0.5), calibration())) == {"float16", "uint4"}
    agreeing = calibration().blocks[0].codecs[2].model_copy(update={"top1_agreement": 0.995})
    block = BlockCalibration(block=1, raw_bytes=100, codecs=(agreeing,))
    assert set(codecs(Policy(), Calibration(model=MODEL, blocks=(block,), samples=3))) == {"uint4"}
