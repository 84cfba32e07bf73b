from pathlib import Path

from tools.check_names import repeated_names


def write(root: Path, place: str, text: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_repeated_modules_and_public_classes_are_named_with_their_places(tmp_path: Path) -> None:
    write(tmp_path, "shared/cost.py", "class Load: ...\nclass _Private: ...\n")
    write(tmp_path, "planning/cost.py", "\nclass Load: ...\nclass _Private: ...\n")
    write(tmp_path, "services/a/config.py", "")
    write(tmp_path, "services/b/config.py", "")
    assert repeated_names(tmp_path) == [
        "module cost: planning/cost.py, shared/cost.py",
        "class Load: planning/cost.py:2, shared/cost.py:1",
    ]
