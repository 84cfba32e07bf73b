"""Tries real ONNX files: inspect, split, and a live fleet of two executors.

    python -m benchmarks.model_files FOLDER... [--quick] [--seconds S] [--memory-gb G] [--markdown FILE]

Every different file below the folders is tried in a process of its own, with limits of time and memory. What a file
leaves open is chosen by the sizes of `benchmarks.model_trial`. Three outcomes are counted:

- worked: the chain of all blocks and all live results equal the file within the tolerance of its element types, or
  within 1e-6 where random inputs drive an output to 0.
- refused: Segue says why the file, or its results, cannot be used. It is right if ONNX Runtime refuses the file too.
- rounding: without optimisation the numbers are the same, with it they differ by more than the tolerance, because the
  runtime fuses other operators in the whole file. `segue model add` says so.
- wrong: not even the graph is the same, which is a fault of Segue.
"""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.model_trial import Trial
from benchmarks.report import argument_parser, console, write

_QUICK_FILES: Final = 5
_SECONDS: Final = 240
_MEMORY_GB: Final = 8
# Smaller files are constants or fragments.
_LEAST_BYTES: Final = 2048
# Absolute difference that counts as none: logistic functions of the runtime are exact to about 3e-8.
_VANISHING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class FileResult:
    """A file and its trial; `limit` says which limit ended it, if one did."""

    package: str
    file: str
    size_bytes: int
    trial: Trial
    limit: str = ""

    @property
    def outcome(self) -> str:
        """What the trial shows, in a word."""
        trial = self.trial
        if self.limit:
            return "limit"
        if trial.runtime and not trial.blocks:
            return "refused by the runtime"
        if trial.refusal or not trial.blocks:
            return "refused"
        if not trial.is_same_graph:
            return "wrong"
        if trial.live_refusal:
            return "refused live"
        errors = [error for error in (trial.split_error, trial.live_error) if error is not None]
        return "worked" if max(errors) <= trial.tolerance or trial.absolute_error <= _VANISHING else "rounding"


def model_files(folders: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the different ONNX files below some folders, each with its folder."""
    seen: set[str] = set()
    for folder in folders:
        for file in sorted(folder.rglob("*.onnx")):
            if not file.is_file() or file.stat().st_size < _LEAST_BYTES:
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                yield folder, file


def try_file(folder: Path, file: Path, seconds: float, memory_bytes: int) -> FileResult:
    """Try one file in a process with limits."""
    inside = file.relative_to(folder)
    package = inside.parts[0] if len(inside.parts) > 1 else folder.name
    described = (package, file.name, file.stat().st_size)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.model_trial", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=limit,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # With its executors, which are in its session.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return FileResult(*described, Trial(seconds=seconds), f"not within {seconds:g} s")
    try:
        document: Any = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        reason = (err.decode(errors="replace").strip().splitlines() or [f"status {process.returncode}"])[-1]
        return FileResult(*described, Trial(), reason[:300])
    return FileResult(*described, Trial(**document))


def row(result: FileResult) -> tuple[str, ...]:
    """Return the cells of a file."""
    trial = result.trial
    numbers = (
        "" if trial.split_error is None else f"{trial.split_error:.1e}",
        "" if trial.live_error is None else f"{trial.live_error:.1e} ({trial.routes})",
    )
    reason = result.limit or trial.refusal or trial.live_refusal or trial.runtime
    return (
        result.package,
        result.file,
        f"{result.size_bytes / 1e6:.1f}",
        str(trial.blocks or ""),
        str(trial.most_crossing or ""),
        *numbers,
        f"{trial.seconds:.0f}",
        f"{max(trial.memory_mb):.0f}",
        result.outcome + (f": {reason}" if reason and result.outcome != "worked" else ""),
    )


HEADINGS: Final = (
    "package", "file", "MB", "blocks", "tensors", "split", "live (routes)", "s", "memory MB", "outcome"
)  # fmt: skip


def markdown(results: list[FileResult]) -> str:
    """Return the table as Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *map(row, results)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def show(results: list[FileResult]) -> None:
    """Print the table."""
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for result in results:
        table.add_row(*row(result))
    console().print(table)


def main() -> None:
    """Try the files below the folders in the arguments."""
    parser = argument_parser("model_files", __doc__, quick=f"the first {_QUICK_FILES} files")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folder with ONNX files")
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, help="longest time for a file (default: %(default)s)"
    )
    parser.add_argument(
        "--memory-gb", type=float, default=_MEMORY_GB, help="memory of a process (default: %(default)s)"
    )
    parser.add_argument("--markdown", type=Path, help="file for the table as Markdown")
    options = parser.parse_args()
    files = list(model_files(options.folders))
    results: list[FileResult] = []
    for folder, file in files[:_QUICK_FILES] if options.quick else files:
        results.append(try_file(folder, file, options.seconds, int(options.memory_gb * 1e9)))
        print(" ".join(row(results[-1])), flush=True)
    show(results)
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in {r.outcome for r in results}}
    headline = f"{len(results)} files: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    print(headline)
    if options.markdown is not None:
        options.markdown.write_text(markdown(results), encoding="utf-8")
    write(options.out, {"headline": headline, "files": [asdict(result) for result in results]})


if __name__ == "__main__":
    main()
