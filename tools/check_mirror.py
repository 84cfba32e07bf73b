"""Check that tests mirror the tree: module `a/b.py` has `tests/a/test_b.py`, or is listed with a reason.

`untested_modules.toml` lists modules that are tested through others. An entry is an error once the module is gone or
has a test module.
"""

import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.check_names import modules

EXEMPT = frozenset({"__init__", "__main__"})


def mirror_faults(places: Iterable[Path], tests: Path, reasons: Mapping[str, str]) -> list[str]:
    """Return one line for every fault.

    Args:
        places: modules, relative to the repository.
        tests: folder of the tests.
        reasons: why a module has no test module of its own, by its path.
    """
    faults = []
    known = {place.as_posix(): place for place in places if place.stem not in EXEMPT}
    for name, place in known.items():
        mirror = tests / place.parent / f"test_{place.stem}.py"
        if mirror.exists() and name in reasons:
            faults.append(f"{name} is listed, but has a test module")
        elif not mirror.exists() and not reasons.get(name):
            faults.append(f"{name} has no test module and no reason")
    faults += [f"{name} is listed, but does not exist" for name in reasons if name not in known]
    return faults


def main() -> int:
    """Print faults; return 1 if there are any."""
    root = Path(__file__).parents[1]
    reasons = tomllib.loads((root / "tools" / "untested_modules.toml").read_text(encoding="utf-8"))["reasons"]
    faults = mirror_faults((path.relative_to(root) for path in modules(root)), root / "tests", reasons)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
