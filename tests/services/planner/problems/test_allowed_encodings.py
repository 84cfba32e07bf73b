"""Encodings that calibration, shadow checks and policy together allow."""

import pytest

from planning.problem.problem import CodecProfile
from services.planner.problems.allowed_encodings import FieldRecord, offered, place_of, withdrawals, worthwhile
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.policy import Policy

MODEL = "a" * 64


def codec(name: str, agreement: float | None, error: float = 0.001) -> CodecCalibration:
    return CodecCalibration(
        codec=name, size_bytes=10, worst_size_bytes=12, max_relative_error=error, top1_agreement=agreement
    )


def calibration(*codecs: CodecCalibration) -> Calibration:
    blocks = tuple(BlockCalibration(block=block, raw_bytes=100, codecs=codecs) for block in (0, 1))
    return Calibration(model=MODEL, blocks=blocks, samples=30)


def profiles(**sizes_and_times: tuple[float, float, float]) -> dict[str, CodecProfile]:
    return {
        name.replace("_", "+"): CodecProfile(*cost, relative_error=0.0, top1_agreement=1.0)
        for name, cost in sizes_and_times.items()
    }


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (Policy(), {"uint8", "uint8+zstd", "raw+zstd"}),
        (Policy(codec="lossless"), {"raw+zstd"}),
        (Policy(codec="uint8"), {"raw+zstd", "raw+lz4", "float16", "uint8", "uint8+zstd", "sparse8"}),
    ],
)
def test_what_another_encoding_beats_in_every_respect_is_left_out(policy: Policy, left: set[str]) -> None:
    found = profiles(
        raw_zstd=(60, 0.5, 0.1),
        raw_lz4=(101, 0.1, 0.1),
        float16=(50, 1.0, 1.0),
        uint8=(25, 0.9, 0.9),
        uint8_zstd=(10, 3.0, 2.0),
        sparse8=(10, 3.0, 2.5),
    )
    assert set(worthwhile(found, 100, policy)) == left


def report(agreement: float | None, error: float = 0.0, name: str = "uint8") -> ShadowReport:
    return ShadowReport(
        device="pi", model=MODEL, stream="s", block=1, codec=name, max_relative_error=error, top1_agreement=agreement
    )


def record(*agreements: float) -> FieldRecord:
    found = FieldRecord()
    for agreement in agreements:
        found = found.and_then(report(agreement))
    return found


CLASSIFIER = calibration(codec("raw", 1.0), codec("uint8+zstd", 1.0), codec("sparse8", 1.0), codec("uint4", 0.9))


def test_without_a_bound_encodings_have_to_be_harmless() -> None:
    assert set(offered(CLASSIFIER, Policy())[1]) == {"uint8+zstd", "sparse8"}
    other = calibration(codec("float16", None, 0.001), codec("uint8", None, 0.02))
    assert set(offered(other, Policy())[1]) == {"float16"}
    assert set(offered(CLASSIFIER, Policy(min_top1_agreement=0.5))[1]) == {"uint8+zstd", "sparse8", "uint4"}
    assert set(offered(CLASSIFIER, Policy(codec="uint4"))[1]) == {"uint8+zstd", "sparse8", "uint4"}


def test_encodings_that_restore_the_same_numbers_share_a_record() -> None:
    assert place_of(1, "uint8+zstd") == place_of(1, "sparse8") == place_of(1, "uint8")
    assert len({place_of(1, "uint8"), place_of(2, "uint8"), place_of(1, "uint4"), place_of(1, "float16+zstd")}) == 4
    bad = {place_of(1, "uint8"): record(*[0.0] * 10)}
    left = offered(CLASSIFIER, Policy(), bad)
    assert set(left[0]) == {"uint8+zstd", "sparse8"}
    assert set(left[1]) == set()


@pytest.mark.parametrize(
    ("agreements", "withdrawn"),
    [([1.0] * 100, False), ([0.0], True), ([1.0] * 20 + [0.0], False), ([1.0] * 20 + [0.0] * 3, True)],
)
def test_one_disagreement_among_many_condemns_nothing(agreements: list[float], withdrawn: bool) -> None:
    bad = {place_of(1, "uint8"): record(*agreements)}
    assert ("sparse8" not in offered(CLASSIFIER, Policy(), bad)[1]) is withdrawn


def test_a_withdrawal_is_yielded_once() -> None:
    before = {place_of(1, "uint8"): record(*[1.0] * 30, 0.0)}
    after = {place_of(1, "uint8"): record(*[1.0] * 30, 0.0, 0.0, 0.0, 0.0)}
    assert [*withdrawals(CLASSIFIER, Policy(), {}, before)] == []
    assert [*withdrawals(CLASSIFIER, Policy(), before, after)] == [(1, "uint8+zstd"), (1, "sparse8")]
    assert [*withdrawals(CLASSIFIER, Policy(), after, after)] == []
    assert [*withdrawals(CLASSIFIER, Policy(codec="uint8"), before, after)] == []


def test_an_error_past_the_bound_withdraws_at_once() -> None:
    policy = Policy(max_relative_error=0.01)
    found = {place_of(1, "uint8"): FieldRecord().and_then(report(1.0, error=0.02))}
    assert [*withdrawals(CLASSIFIER, policy, {}, found)] == [(1, "uint8+zstd"), (1, "sparse8")]


def test_only_the_newest_reports_count() -> None:
    found = record(*[0.0] * 600, *[1.0] * 500)
    assert len(found.agreements) == len(found.errors) == 500
    assert found.plausible_agreement == 1.0
    assert FieldRecord().and_then(report(None)).plausible_agreement == 1.0
