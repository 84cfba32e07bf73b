"""The JSON document of a run's summary."""

from typing import Any

from services.cli.testbed.baselines import BaselinePlan
from services.cli.testbed.run_summary import LatencySummary, PhaseSummary, RerouteSummary, RunSummary


def summary_document(summary: RunSummary) -> dict[str, Any]:
    """Return the summary as JSON values, times in ms rounded to two digits."""
    return {
        "requests": summary.requests,
        "results": summary.results,
        "errors": summary.errors,
        "lost": summary.lost,
        "duplicates": summary.duplicates,
        "mismatches": summary.mismatches,
        "encoded": summary.encoded,
        "encoded_mismatches": summary.encoded_mismatches,
        "latency_ms": _latency(summary.latency),
        "phases": [_phase(phase) for phase in summary.phases],
        "reroutes": [_reroute(reroute) for reroute in summary.reroutes],
        "predictions": [
            {"file": each.file, "top": [{"label": score.label, "score": score.score} for score in each.top]}
            for each in summary.predictions
        ],
        "input_bytes": summary.input_bytes,
        "problems": list(summary.problems),
    }


def _phase(phase: PhaseSummary) -> dict[str, Any]:
    return {
        "name": phase.name,
        "condition": phase.condition,
        "requests": phase.requests,
        "latency_ms": _latency(phase.latency),
        "settled_latency_ms": _latency(phase.settled),
        "route": phase.route,
        "predicted_ms": _rounded(phase.predicted_ms),
        "best_single_device": _baseline(phase.single),
        "best_fixed_plan": _baseline(phase.fixed),
        "first_plan_kept": _baseline(phase.first),
    }


def _reroute(reroute: RerouteSummary) -> dict[str, Any]:
    return {
        "phase": reroute.phase,
        "cause": reroute.cause.value,
        "reason": reroute.reason,
        "from": reroute.previous,
        "to": reroute.chosen,
        "predicted_ms": [_rounded(value) for value in reroute.predicted_ms],
        "measured_ms": [_rounded(value) for value in reroute.measured_ms],
        "reaction_ms": _rounded(reroute.reaction_ms),
    }


def _latency(latency: LatencySummary) -> dict[str, float | None]:
    return {"p50": _rounded(latency.p50), "p95": _rounded(latency.p95)}


def _baseline(plan: BaselinePlan | None) -> dict[str, Any] | None:
    return None if plan is None else {"route": plan.route, "predicted_ms": _rounded(plan.predicted_ms)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
