"""Question for the health of the services on this machine, over their sockets.

Only light modules: a probe runs every few seconds and has a tenth of a second.
"""

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from shared.health.runtime_folder import is_trusted, runtime_folders
from shared.health.service_health import HealthReport

ROLES: Final = ("executor", "monitor", "planner", "collector")
_MAX_ANSWER_BYTES: Final = 4096


def ask(role: str | None, folders: Sequence[Path] | None = None, timeout_s: float = 2.0) -> list[HealthReport]:
    """Return the reports of the services that run here, one per process. A process that hangs is not ready.

    Args:
        role: only of these services; None for all.
        folders: of their sockets; None for the usual ones.
        timeout_s: bound on the answer of each.
    """
    reports = []
    for path in _sockets(role, runtime_folders() if folders is None else folders):
        try:
            reports.append(_ask(path, timeout_s))
        except (ConnectionRefusedError, FileNotFoundError):
            # Its process was killed. Nobody else removes the socket.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        except TimeoutError:
            pid = path.stem.partition("-")[2]
            reports.append(_no_answer(path, f"process {pid} does not answer within {timeout_s:g} s"))
        except (OSError, ValueError, TypeError) as error:
            reports.append(_no_answer(path, f"{path}: {error}"))
    return reports


def _no_answer(path: Path, reason: str) -> HealthReport:
    return HealthReport(path.stem.partition("-")[0], "", False, reason, is_alive=False)


def _sockets(role: str | None, folders: Sequence[Path]) -> Iterator[Path]:
    for folder in filter(is_trusted, folders):
        for each in ROLES if role is None else (role,):
            yield from sorted(folder.glob(f"{each}-*.sock"))


def _ask(path: Path, timeout_s: float) -> HealthReport:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(timeout_s)
        asking.connect(str(path))
        answer = b""
        while not answer.endswith(b"\n"):
            part = asking.recv(_MAX_ANSWER_BYTES)
            if not part or len(answer) > _MAX_ANSWER_BYTES:
                raise ValueError("the answer is incomplete")
            answer += part
    return HealthReport(**json.loads(answer))
