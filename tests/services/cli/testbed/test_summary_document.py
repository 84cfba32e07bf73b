"""The JSON document of a summary."""

import json

import pytest

from services.cli.testbed.run_summary import summarise
from services.cli.testbed.summary_document import summary_document
from tests.support.run_records import run_record


def test_the_document_has_its_keys_and_is_json() -> None:
    document = json.loads(json.dumps(summary_document(summarise(run_record())), allow_nan=False))
    assert {"requests", "results", "errors", "lost", "duplicates", "mismatches"} <= document.keys()
    assert document["latency_ms"].keys() == {"p50", "p95"}
    assert {"name", "condition", "latency_ms", "route"} <= document["phases"][0].keys()
    assert {"reason", "from", "to", "predicted_ms", "measured_ms", "reaction_ms"} <= document["reroutes"][0].keys()


def test_times_are_rounded_and_missing_ones_are_null() -> None:
    document = summary_document(summarise(run_record(basis=None)))
    assert document["phases"][0]["best_single_device"] is None
    assert document["reroutes"][0]["reaction_ms"] == pytest.approx(601)
    assert document["latency_ms"]["p50"] == pytest.approx(101)
