"""Note of what is being measured, so that a measurement that ends the process is not repeated without end."""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_LOGGER = logging.getLogger(__name__)

# Deaths are forgotten after an hour: they may have had another cause, such as an operator's SIGKILL.
_MEMORY_S: Final = 3600.0
_VMSTAT: Final = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True)
class ProfilingDeath:
    """A process that ended while it measured blocks `[start, stop)`.

    Attributes:
        start, stop: the blocks.
        at_s: wall clock when the next process found out.
        out_of_memory: whether the kernel has killed a process for its memory meanwhile.
        in_tiles: whether it measured tiles of the block.
    """

    start: int
    stop: int
    at_s: float
    out_of_memory: bool
    in_tiles: bool = False


class ProfileAttempts:
    """The note of one model's measurements: a file that is written before each one, and corrected after it.

    Rules, over the last hour:

    - Several blocks together are measured once. After a death each of them is measured alone.
    - A block that was measured when the process died, twice, is not measured again.
    - After two deaths for lack of memory, only what was measured before is measured again.
    - After a death in tiles of a block, tiles of it are not measured again; after two, none are. Whole blocks are
      measured as if it had not happened.
    """

    def __init__(self, path: Path, *, now_s: float | None = None, oom_kills: int | None = None) -> None:
        """Read the note. A measurement that it calls running has ended the process.

        Args:
            path: the file.
            now_s: wall clock; None to read it.
            oom_kills: number of processes that the kernel has killed for their memory; None to read it.
        """
        self._path = path
        self._oom_kills = count_oom_kills() if oom_kills is None else oom_kills
        now_s = time.time() if now_s is None else now_s
        document = _read(path)
        self._measured = _ranges(document)
        self._deaths = [death for death in _deaths(document) if 0 <= now_s - death.at_s <= _MEMORY_S]
        running = document.get("running")
        if isinstance(running, dict):
            try:
                died_for_memory = 0 <= int(running["oom_kills"]) < self._oom_kills
                start, stop, in_tiles = int(running["start"]), int(running["stop"]), bool(running.get("in_tiles"))
                death = ProfilingDeath(start, stop, now_s, died_for_memory, in_tiles)
            except (KeyError, TypeError, ValueError):
                return
            _LOGGER.warning("the process ended while it measured blocks [%d, %d)", death.start, death.stop)
            self._deaths.append(death)
            self._write(None)

    def refusal(self, start: int, stop: int, *, in_tiles: bool = False) -> str | None:
        """Return why blocks `[start, stop)`, or tiles of them, are not measured; None if they are."""
        own = [death for death in self._deaths if death.in_tiles == in_tiles]
        deaths = sum((death.start, death.stop) == (start, stop) for death in own)
        if in_tiles:
            return "measuring tiles has ended the process" if deaths or len(own) >= 2 else None
        if sum(death.out_of_memory for death in own) >= 2 and (start, stop) not in self._measured:
            return "measuring has ended the process for lack of memory twice"
        if deaths >= 2 or (deaths and stop - start > 1):
            return "measuring has ended the process twice" if deaths >= 2 else "measuring has ended the process"
        return None

    def begin(self, start: int, stop: int, *, in_tiles: bool = False) -> None:
        """Note that blocks `[start, stop)`, or tiles of them, are being measured."""
        self._write({"start": start, "stop": stop, "oom_kills": self._oom_kills, "in_tiles": in_tiles})

    def end(self, start: int, stop: int) -> None:
        """Note that the measurement of blocks `[start, stop)` has ended, well or with an error."""
        self._measured.add((start, stop))
        self._write(None)

    def forget(self) -> None:
        """Remove the note of a model without deaths."""
        if not self._deaths:
            self._path.unlink(missing_ok=True)

    def _write(self, running: dict[str, int] | None) -> None:
        document = {
            "deaths": [asdict(death) for death in self._deaths],
            "measured": sorted(self._measured),
            "running": running,
        }
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document))
            temporary.replace(self._path)
        except OSError as error:
            _LOGGER.warning("the measurement is not noted: %s", error)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _ranges(document: dict[str, Any]) -> set[tuple[int, int]]:
    try:
        return {(int(start), int(stop)) for start, stop in document.get("measured", [])}
    except (TypeError, ValueError):
        return set()


def _deaths(document: dict[str, Any]) -> list[ProfilingDeath]:
    try:
        return [
            ProfilingDeath(
                int(each["start"]),
                int(each["stop"]),
                float(each["at_s"]),
                bool(each["out_of_memory"]),
                bool(each.get("in_tiles")),
            )
            for each in document.get("deaths", [])
        ]
    except (KeyError, TypeError, ValueError):
        return []


def count_oom_kills(vmstat: Path = _VMSTAT) -> int:
    """Return how many processes the kernel has killed for their memory since it was started; -1 if it does not say."""
    try:
        for line in vmstat.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError) as error:
        _LOGGER.debug("the kernel does not count its kills: %s", error)
    return -1
