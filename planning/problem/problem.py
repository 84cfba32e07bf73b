"""The input of a strategy: models, devices, links, streams and a policy, as frozen data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from shared.fields import DOCUMENT, Count, Index, Name, NonNegative, Positive, Share
from shared.policy import Policy


@dataclass(frozen=True, slots=True)
class CodecProfile:
    """An encoding of a block's output: its size, and the time it takes on a device of speed 1.

    ``relative_error`` and ``top1_agreement`` are the measured effect on the model's output. They are the largest error,
    and the share of inputs that kept their best class. None means not measured.
    """

    __pydantic_config__ = DOCUMENT

    size_bytes: NonNegative
    encode_ms: NonNegative = 0.0
    decode_ms: NonNegative = 0.0
    relative_error: NonNegative | None = None
    top1_agreement: Share | None = None


@dataclass(frozen=True, slots=True)
class RowProfile:
    """The rows of a block's output, and the rows of its input that one of them needs; for tiles.

    Row r of the output needs the rows ``[r stride - padding, r stride - padding + kernel)`` of the input, as far as
    they exist. A block that makes images higher counts kernel, stride and padding in shares of 1 / ``upsampling`` of a
    row, and needs every row that it touches. ``bytes_per_row`` is what one row of the output takes on the wire; None
    means ``output_bytes`` shared out evenly. A block of several layers gives the kernel, stride and padding of all of
    them together.
    """

    __pydantic_config__ = DOCUMENT

    output_rows: Annotated[Count, Field(description="Rows (height) of the block's output.")]
    kernel: Annotated[Count, Field(description="Rows of the input that one row of the output needs.")] = 1
    stride: Annotated[Count, Field(description="Rows of the input from one row of the output to the next.")] = 1
    padding: Annotated[Index, Field(description="Rows of padding above the first row of the input.")] = 0
    bytes_per_row: Annotated[
        NonNegative | None, Field(description="Bytes of one row of the output; null: output_bytes / output_rows.")
    ] = None
    upsampling: Annotated[
        Count, Field(description="Shares of a row of the input in which kernel, stride and padding are counted.")
    ] = 1


@dataclass(frozen=True, slots=True)
class Block:
    """The smallest part of a model that a strategy places.

    Attributes:
        name: for people.
        output_bytes: raw size of its output.
        flops: floating-point operations.
        parameter_bytes: size of its weights.
        activation_bytes: largest activation while it runs; None means ``output_bytes``.
        codecs: encodings its output may travel in, besides raw.
        rows: row data, if it can be tiled; without it every tile would need all rows.
        ends_tiles: whether a stage with several tiles may begin or end behind it. In a model with edges, one may do so
            only where the output of one block crosses.
    """

    __pydantic_config__ = DOCUMENT

    name: str
    output_bytes: NonNegative
    flops: NonNegative = 0
    parameter_bytes: NonNegative = 0
    activation_bytes: NonNegative | None = None
    codecs: Mapping[Name, CodecProfile] = field(default_factory=dict)
    rows: RowProfile | None = None
    ends_tiles: Annotated[bool, Field(description="Whether stages of several tiles may begin or end behind it.")] = True

    @property
    def working_bytes(self) -> float:
        """Size of the largest activation while the block runs."""
        return self.output_bytes if self.activation_bytes is None else self.activation_bytes


@dataclass(frozen=True, slots=True)
class Model:
    """A model as blocks in an order in which they can run.

    ``edges`` holds ``(from_block, to_block, bytes)`` of a branching model; None means a chain. ``input_rows`` is the
    height of the model's input. None means the least height from which the first block can make its rows.
    """

    __pydantic_config__ = DOCUMENT

    input_bytes: NonNegative
    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=10_000)]
    edges: tuple[tuple[Index, Index, NonNegative], ...] | None = None
    input_rows: Annotated[
        Count | None,
        Field(description="Rows (height) of the input, for tiles; null: what the rows of the first block imply."),
    ] = None


# Measured times of a block by rows of its output: ``(rows, ms)``, rows ascending.
RowTable = tuple[tuple[Count, NonNegative], ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A device: time per block of every model it can run, load, memory and power.

    A device without ``block_ms`` for a model cannot run that model. Two more figures are those of Kafetzis &
    Koutsopoulos (section III): ``background_processes``, their n, are endless processes that take turns with the
    device's computing in infinitely small slots, so that it takes 1 + n times as long. ``first_blocks``, their s, is a
    cap by memory: of every model the device can run the blocks [0, s) only; None means all.

    ``row_ms`` holds, per model, one table per block
    with the times of some numbers of rows. It is for blocks whose time is not proportional to their rows. None or an
    empty table means proportional. Between the points, and from 0 rows (0 ms) to all rows (``block_ms``), time is
    linear. With a ``row_step`` above 1 the time by rows is a staircase, as on accelerators (DistrEdge, figure 13).

    ``untiled_models`` are those of which the device takes part only in routes without tiles: its runtime cannot receive
    or send rows, or its times by rows are not known.

    ``tile_overhead_ms`` is the work of a runtime for a tile: rows of several senders are put together, and those of
    several receivers apart.

    ``separate_links`` is about a device whose links do not share a rate: DistrEdge shapes the bandwidth of every
    provider, and its requester sends to all of them at once.
    """

    __pydantic_config__ = DOCUMENT

    block_ms: Mapping[Name, tuple[NonNegative, ...]] = field(default_factory=dict)
    load_factor: Positive = 1.0
    segment_overhead_ms: NonNegative = 0.0
    memory_bytes: NonNegative | None = None
    power_idle_w: NonNegative = 0.0
    power_active_w: NonNegative = 0.0
    power_tx_w: NonNegative = 0.0
    power_rx_w: NonNegative = 0.0
    codec_speed: Positive = 1.0
    row_ms: Annotated[
        Mapping[Name, tuple[RowTable | None, ...]],
        Field(
            description="Per model, one table [[rows, ms], ...] per block for tiles of fewer than all rows; "
            "null: block_ms x rows / output_rows. Linear in between, from 0 rows in 0 ms to all rows in block_ms."
        ),
    ] = field(default_factory=dict)
    background_processes: Annotated[
        Index, Field(description="Endless processes that share the processor; computing takes 1 + that times as long.")
    ] = 0
    first_blocks: Annotated[
        Index | None, Field(description="The device runs only so many blocks of a model, from block 0 on; null: all.")
    ] = None
    row_step: Annotated[
        Count, Field(description="A tile's rows of a block take the time of the next multiple of so many rows.")
    ] = 1
    tile_overhead_ms: Annotated[
        NonNegative, Field(description="Time of a tile beside its shares of the blocks and the overhead of a segment.")
    ] = 0.0
    untiled_models: Annotated[
        tuple[Name, ...], Field(description="Models of which the device takes part only in routes without tiles.")
    ] = ()
    separate_links: Annotated[
        bool, Field(description="Whether sendings over different links overlap; false: they go out one after another.")
    ] = False

    @property
    def slowdown(self) -> float:
        """Time of computing relative to the idle device: the load factor, times 1 + the background processes."""
        return self.load_factor * (1 + self.background_processes)

    def runs_tiles(self, model: str) -> bool:
        """Return whether the device can take part in routes of ``model`` with tiles."""
        return model in self.block_ms and model not in self.untiled_models


@dataclass(frozen=True, slots=True)
class Link:
    """A network link; given in one direction only, it serves both. In JSON the ends are ``from`` and ``to``."""

    __pydantic_config__ = DOCUMENT

    source: Annotated[Name, Field(alias="from")]
    target: Annotated[Name, Field(alias="to")]
    bandwidth_mbps: Positive
    latency_ms: NonNegative = 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """One flow of requests. ``jobs`` is the size of a burst, ``rate_hz`` its steady rate, if known."""

    __pydantic_config__ = DOCUMENT

    name: Name
    model: Name
    source: Name
    sink: Name | None = None
    jobs: Count = 1
    rate_hz: Positive | None = None
    deadline_ms: Positive | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """The whole input of a strategy, which has no clock and reads nothing else."""

    __pydantic_config__ = DOCUMENT

    models: Annotated[Mapping[Name, Model], Field(min_length=1)]
    devices: Annotated[Mapping[Name, Device], Field(min_length=1, max_length=10_000)]
    links: tuple[Link, ...]
    streams: Annotated[tuple[Stream, ...], Field(min_length=1, max_length=1000)]
    policy: Policy = field(default_factory=Policy)
    version: Literal[1] = 1

    def stream(self, name: str) -> Stream:
        """Return the stream called ``name``.

        Raises:
            KeyError: if there is none.
        """
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)

    def deadline_ms(self, stream: Stream) -> float | None:
        """Return the stricter of the stream's and the policy's deadline, in ms; None if there is none."""
        bounds = [bound for bound in (stream.deadline_ms, self.policy.deadline_ms) if bound is not None]
        return min(bounds, default=None)


def link_table(links: Iterable[Link]) -> dict[tuple[str, str], Link]:
    """Map every direction ``(sender, receiver)`` to its link; a link listed in one direction serves both."""
    table = {(link.source, link.target): link for link in links}
    for (source, target), link in list(table.items()):
        table.setdefault((target, source), link)
    return table
