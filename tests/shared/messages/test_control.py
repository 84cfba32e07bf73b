import pytest

from shared.messages.control import SegmentRange, segments_of
from shared.messages.streams import PlanStage, PlanTile


def stage(start: int, stop: int, codec: str = "raw", device: str = "pi") -> PlanStage:
    return PlanStage(start=start, stop=stop, device=device, codec=codec)


def test_each_range_is_named_once_with_the_encoding_of_its_stages() -> None:
    found = segments_of([[stage(0, 3, "uint8"), stage(5, 9)], [stage(0, 3, "uint8")]])
    assert found == {"pi": (SegmentRange(start=0, stop=3, codec="uint8"), SegmentRange(start=5, stop=9, codec="raw"))}


def test_stages_that_do_not_agree_leave_the_encoding_open() -> None:
    found = segments_of([[stage(0, 3, "uint8")], [stage(0, 3, "float16")]])
    assert found == {"pi": (SegmentRange(start=0, stop=3),)}


def test_a_tile_is_named_with_its_rows_and_the_segment_before_it_with_those_of_all() -> None:
    rows = ((0, 9), (9, 16))
    tiles = tuple(PlanTile(device=device, rows=own) for device, own in zip(("pi", "server"), rows, strict=True))
    tiled = PlanStage(start=1, stop=4, device="pi", tiles=tiles)
    found = segments_of([(stage(0, 1), tiled, stage(4, 6, device="server"))])
    assert found == {
        "pi": (SegmentRange(start=0, stop=1, next_stop=4, next_rows=rows), SegmentRange(start=1, stop=4, rows=(0, 9))),
        "server": (SegmentRange(start=1, stop=4, rows=(9, 16)), SegmentRange(start=4, stop=6)),
    }


def test_segments_that_differ_only_in_what_follows_are_two() -> None:
    halves = (PlanTile(device="pi", rows=(0, 2)), PlanTile(device="server", rows=(2, 4)))
    tiled = PlanStage(start=1, stop=4, device="pi", tiles=halves)
    found = segments_of([(stage(0, 1), tiled, stage(4, 6)), (stage(0, 1), stage(1, 6, device="server"))])
    assert [(each.start, each.stop, each.next_stop) for each in found["pi"]] == [
        (0, 1, 4),
        (1, 4, 0),
        (4, 6, 0),
        (0, 1, 0),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"next_stop": 5},
        {"next_rows": [[0, 2]]},
        {"next_stop": 2, "next_rows": [[0, 2]]},
        {"rows": [3, 3]},
        {"rows": [-1, 3]},
        {"rows": [0, 10**9]},
        {"next_stop": 5, "next_rows": [[2, 2]]},
        {"next_stop": 5, "next_rows": [[0, 1]] * 65},
    ],
)
def test_a_range_whose_rows_make_no_sense_is_refused(fields: dict[str, object]) -> None:
    document = {"start": 1, "stop": 3, **fields}
    with pytest.raises(ValueError, match="validation error"):
        SegmentRange.model_validate(document)
