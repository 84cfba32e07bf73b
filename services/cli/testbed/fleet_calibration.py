"""Measures encodings of feature maps before a fleet starts, so that its planner may choose among them."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from services.cli.calibration import SHIPPED, calibrate_once, sample_kind
from services.cli.testbed.workload import Workload
from shared.messages.calibration import Calibration
from shared.service_runtime import InputError

_PERCENT_TOLD = 10


class _Stopped(Exception):
    """Nobody waits for the measuring any more."""


async def calibrate(workload: Workload, images: Path | None, folder: Path, say: Callable[[str], None]) -> Calibration:
    """Return what encodings of the workload's model cost, as kept in `folder`, or measured now.

    Args:
        workload: the model.
        images: the calibration set; the one that ships if None.
        folder: where calibrations are kept.
        say: told how far it is.

    Raises:
        InputError: the folder has no inputs of the model, or none is named for a model of tensors.
    """
    if images is None and workload.manifest.preprocessing.kind != "image":
        kind, endings = sample_kind(workload.manifest)
        raise InputError(
            f"model.calibration_images: the model takes {kind}: name a folder with {', '.join(endings)} files"
        )
    loop, stopped, told = asyncio.get_running_loop(), threading.Event(), [-1]

    def tell(done: int, count: int) -> None:
        if stopped.is_set():
            raise _Stopped
        share = 100 * done // count // _PERCENT_TOLD * _PERCENT_TOLD
        if share != told[0]:
            told[0] = share
            loop.call_soon_threadsafe(say, f"measuring encodings of feature maps: {share} %")

    try:
        return await asyncio.to_thread(
            calibrate_once, workload.model_file, workload.manifest, images or SHIPPED, folder, on_sample=tell
        )
    finally:
        stopped.set()
