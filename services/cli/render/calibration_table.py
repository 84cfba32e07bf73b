"""A model's calibration as a table."""

from rich.table import Table

from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration

_HEADINGS = ("cut", "encoding", "kB", "worst", "of raw", "ms", "error", "top-1", "top-5")


def calibration_table(calibration: Calibration, model: str) -> Table:
    """Return a row per cut and encoding: sizes, share of the raw size, times and effects on the model's output."""
    sizes = ", ".join(f"{size.encoding} {size.size_bytes / 1000:.1f} kB" for size in calibration.input_sizes)
    files = f"{calibration.photographs} file{'s' if calibration.photographs != 1 else ''}"
    origin = f"{calibration.samples} inputs made of {files}" + (f"; {sizes}" if sizes else "")
    table = Table(
        title=f"{model}: encodings", caption=f"{origin}. ms: to encode + to decode.", padding=0, pad_edge=False
    )
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "encoding" else "right", no_wrap=True)
    for block in calibration.blocks:
        for codec in block.codecs:
            table.add_row(*_cells(block, codec))
        table.add_section()
    return table


def _cells(block: BlockCalibration, codec: CodecCalibration) -> tuple[str, ...]:
    return (
        str(block.block),
        codec.codec,
        f"{codec.size_bytes / 1000:.1f}",
        f"{codec.worst_size_bytes / 1000:.1f}",
        f"{codec.size_bytes / block.raw_bytes:.0%}" if block.raw_bytes else "",
        f"{codec.encode_ms:.2f}+{codec.decode_ms:.2f}",
        f"{codec.max_relative_error:.1e}",
        _share(codec.top1_agreement),
        _share(codec.top5_agreement),
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
