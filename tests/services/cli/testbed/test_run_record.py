"""Records of requests and phases."""

from dataclasses import replace

from services.cli.testbed.run_record import RequestRecord
from shared.messages.requests import StageTrace
from tests.support.run_records import request_record, run_record


def test_a_phase_contains_its_start_but_not_its_end() -> None:
    phase = run_record().phases[0]
    assert phase.contains(phase.started_at_s)
    assert not phase.contains(phase.ended_at_s)


def test_a_mismatch_is_encoded_if_a_feature_map_travelled_in_a_lossy_encoding() -> None:
    traces = {
        codec: (StageTrace(device="camera", start=0, stop=2, received_at_s=0.0, codec=codec),)
        for codec in ("uint8+zstd", "raw+zstd")
    }
    lossy = request_record(1, 101.0, 33.0, 1, trace=traces["uint8+zstd"])
    lossless = request_record(2, 101.0, 33.0, 1, trace=traces["raw+zstd"])
    assert not lossy.is_encoded_mismatch
    assert replace(lossy, mismatch=True).is_encoded_mismatch
    assert not replace(lossless, mismatch=True).is_encoded_mismatch
    assert not RequestRecord("lost", 0.0, 1.0, None, mismatch=True).is_encoded_mismatch
