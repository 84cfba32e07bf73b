"""End of the process when a segment computes without end."""

from dataclasses import dataclass, field
from typing import Final

from services.executor.segments.processor import Processor
from shared.exit_status import ServiceFailed

# A process that was stopped and goes on is late at its first look only.
_LOOKS: Final = 5


@dataclass(slots=True)
class HangWatch:
    """Looks whether the running job has exceeded its limit.

    The engine stops a run between two operators. One operator that never returns holds the only compute thread, and no
    thread can be interrupted. So the process has to end: its presence then says that the device is gone, streams take
    other routes, and whoever supervises the process starts a new one.

    Attributes:
        processor: runs the jobs.
    """

    processor: Processor
    _late: int = field(default=0, init=False)

    def look(self, now_s: float) -> None:
        """Look once a second, at monotonic `now_s`.

        Raises:
            ServiceFailed: the job was late at several looks in a row.
        """
        self._late = self._late + 1 if self.processor.overdue_s(now_s) else 0
        if self._late == _LOOKS:
            raise ServiceFailed("a segment computes without end and cannot be interrupted: this process ends")
