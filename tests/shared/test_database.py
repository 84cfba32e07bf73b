"""Damaged databases are kept, whole, whatever was kept before."""

from pathlib import Path

from shared.database import move_aside


def test_a_database_goes_with_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for name in ("", "-wal"):
        (tmp_path / f"journal.sqlite{name}").write_text(f"damaged{name}")
    aside = move_aside(path)
    assert (aside.read_text(), aside.with_name(f"{aside.name}-wal").read_text()) == ("damaged", "damaged-wal")
    assert list(tmp_path.glob("journal.sqlite")) == []


def test_an_earlier_one_is_not_overwritten(tmp_path: Path) -> None:
    path, asides = tmp_path / "planner.db", []
    for content in ("first", "second"):
        path.write_text(content)
        asides.append(move_aside(path))
    assert [aside.read_text() for aside in asides] == ["first", "second"]
