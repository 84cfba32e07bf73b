"""A calibration as a table."""

from rich.console import Console

from services.cli.render.calibration_table import calibration_table
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, InputSize


def test_every_encoding_of_every_cut_has_a_row() -> None:
    codecs = (
        CodecCalibration(codec="raw", size_bytes=4000, worst_size_bytes=4000, top1_agreement=1.0),
        CodecCalibration(codec="uint8", size_bytes=1000, worst_size_bytes=1100, encode_ms=0.25, decode_ms=0.5),
    )
    calibration = Calibration(
        model="ab" * 32,
        blocks=tuple(BlockCalibration(block=block, raw_bytes=4000, codecs=codecs) for block in (0, 3)),
        samples=6,
        photographs=1,
        input_sizes=(InputSize(encoding="jpeg75", size_bytes=1500),),
    )
    console = Console(width=120)
    with console.capture() as captured:
        console.print(calibration_table(calibration, "tiny"))
    text = captured.get()
    assert "6 inputs made of 1 file; jpeg75 1.5 kB" in text
    assert text.count("uint8") == 2
    row = next(line for line in text.splitlines() if "uint8" in line)
    assert [word.strip() for word in row.strip("│").split("│")] == [
        "0", "uint8", "1.0", "1.1", "25%", "0.25+0.50", "0.0e+00", "", ""
    ]  # fmt: skip
