from pathlib import Path

from tools.check_mirror import mirror_faults

PLACES = [Path("shared/__init__.py"), Path("shared/units.py"), Path("shared/arrays.py")]


def test_a_module_needs_its_test_module_or_a_reason(tmp_path: Path) -> None:
    assert mirror_faults(PLACES, tmp_path, {"shared/arrays.py": "type aliases"}) == [
        "shared/units.py has no test module and no reason"
    ]


def test_an_entry_ends_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    for name in ("units", "arrays"):
        (tmp_path / "shared" / f"test_{name}.py").touch()
    assert mirror_faults(PLACES, tmp_path, {"shared/arrays.py": "type aliases", "shared/gone.py": "x"}) == [
        "shared/arrays.py is listed, but has a test module",
        "shared/gone.py is listed, but does not exist",
    ]
