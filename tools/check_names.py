"""Check that no two modules and no two public classes of the tree share a name.

A name that stands for two things must be looked up twice. Services repeat a role under the same module name, so these
names are exempt.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("broker", "planning", "segue", "services", "shared")
REPEATED_MODULES = frozenset({"__init__", "__main__", "config", "errors", "inbound", "service"})


def modules(root: Path) -> Iterator[Path]:
    """Yield every Python module of the tree, sorted."""
    for folder in ROOTS:
        yield from sorted((root / folder).rglob("*.py"))


def repeated_names(root: Path) -> list[str]:
    """Return one line for every name that several modules or several public classes have."""
    by_module: defaultdict[str, list[str]] = defaultdict(list)
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for path in modules(root):
        place = path.relative_to(root)
        if path.stem not in REPEATED_MODULES:
            by_module[path.stem].append(str(place))
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                by_class[node.name].append(f"{place}:{node.lineno}")
    return [
        f"{kind} {name}: {', '.join(places)}"
        for kind, found in (("module", by_module), ("class", by_class))
        for name, places in sorted(found.items())
        if len(places) > 1
    ]


def main() -> int:
    """Print repeated names; return 1 if there are any."""
    lines = repeated_names(Path(__file__).parents[1])
    for line in lines:
        print(f"repeated {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
