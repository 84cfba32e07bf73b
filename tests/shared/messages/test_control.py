from shared.messages.control import SegmentRange, ranges_of
from shared.messages.streams import PlanStage


def stage(start: int, stop: int, codec: str = "raw") -> PlanStage:
    return PlanStage(start=start, stop=stop, device="pi", codec=codec)


def test_each_range_is_named_once_with_the_encoding_of_its_stages() -> None:
    found = ranges_of([stage(0, 3, "uint8"), stage(5, 9), stage(0, 3, "uint8")])
    assert found == (SegmentRange(start=0, stop=3, codec="uint8"), SegmentRange(start=5, stop=9, codec="raw"))


def test_stages_that_do_not_agree_leave_the_encoding_open() -> None:
    assert ranges_of([stage(0, 3, "uint8"), stage(0, 3, "float16")]) == (SegmentRange(start=0, stop=3),)
