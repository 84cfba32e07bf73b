"""The calibration of a fleet's model before its start, off the event loop, with reports of the progress."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.cli.calibration import cached_calibration, calibration_images
from services.cli.testbed.workload import Workload
from shared.messages.calibration import Calibration

_REPORTED_PERCENT: Final = 10


class _Cancelled(Exception):
    """The run ended before the measurement."""


async def calibrate_workload(
    workload: Workload, images: Path | None, folder: Path, report: Callable[[str], None]
) -> Calibration:
    """Return the calibration of the workload's model, stored in `folder` or measured now.

    Args:
        workload: the model.
        images: the calibration set; the one that ships if None.
        folder: where calibrations are stored.
        report: receives a line for every tenth of the progress.

    Raises:
        InputError: the folder has no inputs of the model, or a model of tensors has no calibration set.
    """
    images = calibration_images(workload.manifest, images, "model.calibration_images: name a folder")
    loop, cancelled, reported = asyncio.get_running_loop(), threading.Event(), [-1]

    # Runs in the measuring thread, which cannot be cancelled: an exception ends it when the run does.
    def on_sample(done: int, count: int) -> None:
        if cancelled.is_set():
            raise _Cancelled
        percent = 100 * done // count // _REPORTED_PERCENT * _REPORTED_PERCENT
        if percent != reported[0]:
            reported[0] = percent
            loop.call_soon_threadsafe(report, f"measuring encodings of feature maps: {percent} %")

    try:
        return await asyncio.to_thread(
            cached_calibration, workload.model_file, workload.manifest, images, folder, on_sample=on_sample
        )
    finally:
        cancelled.set()
