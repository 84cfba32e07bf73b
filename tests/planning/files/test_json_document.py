import pytest

from planning.files.json_document import MAX_FILE_BYTES, InvalidDocumentError, json_path
from planning.files.problem_file import read_problem


@pytest.mark.parametrize(
    "text", ["", "{", "7", '{"a": 1, "a": 2}', b"\xff\xfe\x00", "[" * 10**5, " " * (MAX_FILE_BYTES + 1)]
)
def test_what_is_no_document(text: str | bytes) -> None:
    with pytest.raises(InvalidDocumentError) as caught:
        read_problem(text)
    assert caught.value.faults[0].path == "$"


def test_path_of_odd_keys() -> None:
    assert json_path(("devices", "pi", "block_ms", 3)) == "$.devices.pi.block_ms[3]"
    assert "\n" not in json_path(("a\nb",))
