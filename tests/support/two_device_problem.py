"""A model of two blocks on two linked devices, with round numbers for costs by hand."""

from planning.problem.problem import Block, CodecProfile, Device, Link, Model, Problem, Stream

STREAM = Stream("s", "m", "a")


def two_device_problem(stream: Stream = STREAM) -> Problem:
    """Device a has load factor 2, device b codec speed 2; the link between them 8 Mbps (1 ms per kB) and 1.5 ms."""
    blocks = (
        Block("x", 2000, codecs={"int8": CodecProfile(500, encode_ms=3.0, decode_ms=4.0)}),
        Block("y", 1000),
    )
    a = Device({"m": (10.0, 20.0)}, 2.0, 1.0, None, 1.0, 5.0, 0.5, 0.25)
    b = Device({"m": (1.0, 2.0)}, 1.0, 0.5, None, 2.0, 12.0, 0.7, 0.3, codec_speed=2.0)
    return Problem({"m": Model(4000, blocks)}, {"a": a, "b": b}, (Link("a", "b", 8.0, 1.5),), (stream,))
