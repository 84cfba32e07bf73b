"""The summary of a run on a terminal."""

import io
from dataclasses import replace

from rich.console import Console

from services.cli.testbed.baselines import BaselinePlan
from services.cli.testbed.run_record import RunRecord
from services.cli.testbed.run_summary import summarise
from services.cli.testbed.summary_tables import print_summary
from shared.messages.requests import StageTrace
from tests.support.run_records import (
    request_record,
    run_record,
)


def test_a_stage_is_not_broken_in_a_terminal_of_80_columns() -> None:
    summary = summarise(run_record())
    split, wide = "camera[0,14) uint8+zstd > server[14,24)", BaselinePlan("camera[0,14) > server[14,24)", 183.0)
    phases = [replace(each, route=split, single=wide, fixed=wide, first=wide) for each in summary.phases]
    written = io.StringIO()
    print_summary(Console(width=80, file=written), replace(summary, phases=tuple(phases), reroutes=()))
    words = written.getvalue().split()
    assert "camera[0,14) uint8+zstd " in written.getvalue()
    assert (words.count("server[14,24)"), words.count("server")) == (len(phases), 3 * len(phases))


def shown(record: RunRecord) -> str:
    written = io.StringIO()
    print_summary(Console(width=120, file=written), summarise(record))
    return written.getvalue()


def test_a_good_run_ends_with_its_guarantee() -> None:
    text = shown(run_record())
    assert "18 requests: 18 results, 0 errors, 0 lost, 0 duplicates, 0 differ from the whole model." in text
    assert "Every request has exactly one outcome. Every result equals the whole model's." in text
    assert "latency predicted 213 -> 100 ms, measured 200 -> 101 ms" in text


def test_encoded_results_are_counted_apart() -> None:
    trace = (StageTrace(device="camera", start=0, stop=2, received_at_s=0.0, codec="uint8+zstd"),)
    encoded = [request_record(number, 101.0 + number / 100, 33.0, 1, trace=trace) for number in range(3)]
    text = " ".join(shown(run_record(requests=(*run_record().requests, *encoded))).split())
    assert "Of 3 results from lossy encodings of feature maps, 3 have the same best class" in text


def test_faults_take_the_place_of_the_guarantee() -> None:
    text = shown(run_record(notes=("a process died",)))
    assert "problem: a process died" in text
    assert "exactly one outcome" not in text
