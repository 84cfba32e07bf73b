"""Class names in the forms in which people keep them."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.support.label_files import labels_in_metadata, read_labels
from shared.exit_status import InputError

NAMES = tuple(f"class {index}" for index in range(12))
LINES = "\n".join(NAMES) + "\n"
BY_NUMBER = {str(index): name for index, name in enumerate(NAMES)}


def labels(folder: Path, name: str, data: str | bytes, count: int | None = 12) -> tuple[str, ...]:
    file = folder / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_labels(file, count)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("lines.txt", LINES),
        ("no_end.txt", LINES.rstrip()),
        ("windows.txt", LINES.replace("\n", "\r\n")),
        ("old_mac.txt", LINES.replace("\n", "\r")),
        ("bom.txt", b"\xef\xbb\xbf" + LINES.encode()),
        ("powershell.txt", LINES.encode("utf-16")),
        ("spaced.txt", LINES.replace("\n", "\n\n")),
        ("indented.txt", LINES.replace("class", "  class")),
        ("list.json", json.dumps(NAMES)),
        ("list_in.txt", json.dumps(NAMES, indent=1)),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps(NAMES).encode()),
        ("map.json", json.dumps(BY_NUMBER)),
        ("unordered.json", json.dumps(dict(sorted(BY_NUMBER.items(), reverse=True)))),
        ("synsets.json", json.dumps({key: [f"n{key}", name] for key, name in BY_NUMBER.items()}, indent=1)),
        ("inverse.json", json.dumps({name: index for index, name in enumerate(NAMES)})),
        ("from_one.json", json.dumps({str(index + 1): name for index, name in enumerate(NAMES)})),
        ("config.json", json.dumps({"model_type": "vit", "id2label": BY_NUMBER, "label2id": {}})),
        ("records.json", json.dumps({"categories": [{"id": 7, "name": name} for name in NAMES]})),
    ],
)
def test_every_form_gives_the_names_in_order(tmp_path: Path, name: str, data: str | bytes) -> None:
    assert labels(tmp_path, name, data) == NAMES


def test_lines_may_begin_with_a_bracket(tmp_path: Path) -> None:
    assert labels(tmp_path, "l.txt", LINES.replace("class 0", "[background]"))[:2] == ("[background]", "class 1")
    assert labels(tmp_path, "l.txt", LINES.replace("class 0", "{0}"))[0] == "{0}"


def test_a_class_without_a_name_keeps_its_place(tmp_path: Path) -> None:
    for index in (0, 5, 11):
        found = labels(tmp_path, "l.txt", LINES.replace(f"class {index}\n", "\n", 1))
        assert found == (*NAMES[:index], "", *NAMES[index + 1 :])


def test_only_line_ends_end_a_line(tmp_path: Path) -> None:
    for mark in ("\x0c", "\u2028", "\x85", "\x1c"):
        assert labels(tmp_path, "l.txt", LINES.replace("class 5", f"class{mark}5"))[5] == f"class{mark}5"


def test_wrong_numbers_are_left_to_the_caller(tmp_path: Path) -> None:
    assert labels(tmp_path, "l.txt", "cat\n\ndog\n") == ("cat", "dog")
    assert labels(tmp_path, "l.txt", "cat\n\ndog\n", None) == ("cat", "dog")
    assert labels(tmp_path, "l.json", '{"0": "cat", "2": "dog"}', 3) == ("cat", "", "dog")


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("l.txt", "", "holds no class names"),
        ("l.txt", " \n\n", "holds no class names"),
        ("l.json", "[]", "holds no class names"),
        ("l.json", "[1, 2]", "no list of texts"),
        ("l.json", "[broken", "are not JSON"),
        ("l.json", "5", "no list of texts"),
        ("l.json", '{"0": "a", "00": "b"}', "no list of texts"),
        ("l.json", '{"999999999": "a"}', "no list of texts"),
        ("l.json", '{"a": "b"}', "no list of texts"),
        ("l.txt", b"\xff\xfea", "no text in UTF-8 or UTF-16"),
        ("l.txt", b"caf\xe9", "no text in UTF-8 or UTF-16"),
    ],
)
def test_files_without_names_are_refused(tmp_path: Path, name: str, data: str | bytes, text: str) -> None:
    with pytest.raises(InputError, match=text):
        labels(tmp_path, name, data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.txt"):
        read_labels(tmp_path / "none.txt")


def test_yaml_is_read_where_its_library_is(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    assert labels(tmp_path, "l.yaml", "path: x\nnames:\n  0: yes\n  1: '1'\n", 2) == ("yes", "1")
    assert labels(tmp_path, "l.yml", "- no\n- cat\n", 2) == ("no", "cat")
    with pytest.raises(InputError, match="are not YAML"):
        labels(tmp_path, "l.yaml", "a: [b")


@pytest.mark.parametrize(
    "metadata",
    [
        {"names": str(dict(enumerate(NAMES)))},
        {"labels": json.dumps(NAMES)},
        {"id2label": json.dumps(BY_NUMBER)},
        {"classes": ",".join(NAMES)},
        {"class_names": LINES},
        {"names": "['a', 'b']", "labels": LINES},
    ],
)
def test_metadata_holds_names_in_several_forms(metadata: dict[str, Any]) -> None:
    assert labels_in_metadata(metadata, 12) == (NAMES, "")


def test_metadata_without_names_that_fit() -> None:
    assert labels_in_metadata({"author": "a", "names": ""}, 12) == ((), "")
    found, fault = labels_in_metadata({"names": "{0: 'cat'}"}, 12)
    assert found == ()
    assert fault == "the file's metadata 'names' has 1 class names, not 12: they are not used"
