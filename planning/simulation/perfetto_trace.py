"""Timelines in the Trace Event Format, which Perfetto and chrome://tracing display."""

from typing import Any

from planning.queueing.operations import Work
from planning.simulation.simulation import Activity, Timeline


def chrome_trace(timeline: Timeline) -> dict[str, Any]:
    """Return the timeline as trace events, in microseconds: a process per device, a thread per kind of work."""
    devices = sorted({activity.operation.device for activity in timeline.activities})
    numbers = {device: number for number, device in enumerate(devices, start=1)}
    threads = {Work.COMPUTE: 1, Work.SEND: 2}
    events: list[dict[str, Any]] = []
    for device, number in numbers.items():
        events.append({"ph": "M", "name": "process_name", "pid": number, "args": {"name": device}})
        events += [
            {"ph": "M", "name": "thread_name", "pid": number, "tid": thread, "args": {"name": work.value}}
            for work, thread in threads.items()
        ]
    events += [
        {
            "ph": "X",
            "name": _label(activity),
            "cat": activity.operation.work.value,
            "pid": numbers[activity.operation.device],
            "tid": threads[activity.operation.work],
            "ts": activity.start_ms * 1000,
            "dur": (activity.end_ms - activity.start_ms) * 1000,
            "args": _arguments(activity),
        }
        for activity in timeline.activities
    ]
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _arguments(activity: Activity) -> dict[str, Any]:
    operation = activity.operation
    values = {"stream": activity.stream, "request": activity.request, "stage": operation.stage}
    return values if operation.rows is None else {**values, "rows": list(operation.rows)}


def _label(activity: Activity) -> str:
    operation = activity.operation
    what = f"stage {operation.stage}" if operation.target is None else f"to {operation.target}"
    rows = "" if operation.rows is None else f" rows [{operation.rows[0]}, {operation.rows[1]})"
    return f"{activity.stream} #{activity.request}: {what}{rows}"
