"""Wall clocks of processes that can be set while they run.

Debian's libfaketime 0.9.10 is not used: with the machine's monotonic clock, `time.sleep` fails under it.
"""

import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_suffix(".c")


def can_step_clocks() -> bool:
    """Return whether this machine has a C compiler, which makes the preloaded library."""
    return shutil.which("cc") is not None


def build_library(folder: Path) -> Path:
    """Compile the preloaded library and return its path."""
    library = folder / "stepped_clock.so"
    subprocess.run(("cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-lm"), check=True)
    return library


@dataclass(frozen=True, slots=True)
class SteppedClock:
    """The wall clock of one process. Its monotonic clock is the machine's.

    Attributes:
        library: from `build_library`.
        file: holds the offset from this machine's clock.
    """

    library: Path
    file: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables under which a process has this clock; `step` must have been called before its start."""
        return {"LD_PRELOAD": str(self.library), "STEPPED_CLOCK": str(self.file)}

    def step(self, offset_s: float) -> None:
        """Set the clock to this machine's time plus an offset."""
        # In place, because the process has the file mapped.
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("d", offset_s))

    def step_to_1970(self) -> None:
        """Set the clock to what a device without a battery shows after its start."""
        self.step(100.0 - time.time())
