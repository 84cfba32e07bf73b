"""Encodings that turn out worse in the field than a stream's policy allows. Pure."""

from collections.abc import Iterator

from services.planner.encodings import withdrawals
from services.planner.snapshot import Snapshot
from shared.messages.calibration import ShadowReport


def withdrawn(before: Snapshot, after: Snapshot, report: ShadowReport) -> Iterator[tuple[str, str]]:
    """Yield every stream from which the report withdraws encodings, and one line for people.

    Args:
        before: without the report.
        after: with it.
        report: what a device found.
    """
    calibration = after.calibrations.get(report.model)
    if calibration is None:
        return
    records = before.shadows.get(report.model, {}), after.shadows[report.model]
    for stream, declaration in after.streams.items():
        manifest = after.resolve(declaration.model)
        if manifest is None or manifest.model != report.model:
            continue
        gone = [codec for _, codec in withdrawals(calibration, after.policy(stream), *records)]
        if gone:
            place = f"behind block {report.block} of {manifest.name}"
            yield stream, f"stream {stream}: {', '.join(gone)} {place} does worse in the field than its policy allows"
