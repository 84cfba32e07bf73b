import pytest

from planning.problem.crossings import allowed_encodings, crossing_blocks, encodings
from planning.problem.problem import Block, CodecProfile, Model
from shared.policy import CodecMode, Policy

CODECS = {
    "float16": CodecProfile(50, relative_error=1e-3, top1_agreement=1.0),
    "int8+zstd": CodecProfile(20, 1.0, 2.0, relative_error=0.05, top1_agreement=0.97),
    "mine": CodecProfile(10),
    "raw+zstd": CodecProfile(80),
}
CHAIN = Model(10, (Block("a", 100, codecs=CODECS), Block("b", 7)))


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (Policy(), ["raw", "float16", "int8+zstd", "mine", "raw+zstd"]),
        (Policy(codec=CodecMode.LOSSLESS), ["raw", "raw+zstd"]),
        (Policy(codec=CodecMode.INT8), ["int8+zstd"]),
        (Policy(codec="int8+zstd"), ["int8+zstd"]),
        (Policy(codec="raw"), ["raw", "raw+zstd"]),
        (Policy(codec="mine"), ["mine"]),
        (Policy(codec="int4"), ["raw"]),
        (Policy(max_relative_error=0.01), ["raw", "float16", "raw+zstd"]),
        (Policy(min_top1_agreement=0.98), ["raw", "float16", "raw+zstd"]),
        (Policy(min_top1_agreement=0.95), ["raw", "float16", "int8+zstd", "raw+zstd"]),
        (Policy(min_top1_agreement=0.95, max_relative_error=0.01), ["raw", "float16", "raw+zstd"]),
    ],
)
def test_policy_decides_what_is_allowed(policy: Policy, names: list[str]) -> None:
    assert [encoding.codec for encoding in allowed_encodings(CHAIN, 1, policy)] == names


def test_where_a_demanded_encoding_is_not_offered_tensors_travel_raw() -> None:
    assert [encoding.codec for encoding in allowed_encodings(CHAIN, 2, Policy(codec=CodecMode.INT8))] == ["raw"]
    assert [encoding.size_bytes for encoding in allowed_encodings(CHAIN, 0, Policy(codec=CodecMode.INT8))] == [10]


def test_branches_send_every_crossing_tensor_once() -> None:
    blocks = tuple(Block(name, 100.0) for name in "abcd")
    model = Model(10, blocks, ((0, 1, 60.0), (0, 2, 60.0), (1, 3, 30.0), (2, 3, 20.0)))
    assert crossing_blocks(model, 1) == ((0, 60.0),)
    assert crossing_blocks(model, 2) == ((0, 60.0), (1, 30.0))
    assert crossing_blocks(model, 3) == ((1, 30.0), (2, 20.0))
    assert crossing_blocks(model, 4) == ((3, 100.0),)
    assert [encoding.size_bytes for encoding in encodings(model, 2)] == [90.0]


def test_a_block_that_reads_the_input_late_keeps_it_crossing() -> None:
    model = Model(10, tuple(Block(name, 1.0) for name in "abc"), ((0, 2, 5.0), (1, 2, 6.0)))
    assert crossing_blocks(model, 1) == ((-1, 10), (0, 5.0))


def test_encodings_of_branches_add_up() -> None:
    codecs = {"int8": CodecProfile(4, 1.0, 2.0, 0.01, 0.75)}
    model = Model(
        10, (Block("a", 9, codecs=codecs), Block("b", 9, codecs=codecs), Block("c", 9)), ((0, 2, 9), (1, 2, 9))
    )
    found = encodings(model, 2)[1]
    assert (found.codec, found.size_bytes, found.encode_ms, found.decode_ms) == ("int8", 8, 2.0, 4.0)
    assert (found.relative_error, found.top1_agreement) == (0.02, 0.5)
