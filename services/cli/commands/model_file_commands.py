"""`segue model inspect` and `segue split`: show and split model files, offline."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from services.cli.render.console import notes_console, print_json, results_console
from services.cli.support.options import (
    Dimensions,
    InputShapes,
    InputValues,
    Json,
    KeptOutputs,
    MaxCutTensors,
    read_adaptation,
)
from services.cli.support.tile_options import read_tile_choice
from shared.exit_status import InputError
from shared.model.analysis import BlockAnalysis, ModelAnalysis
from shared.model.tensor import Tensor
from shared.model.tiles.stretches import tileable_stretches

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file.", show_default=False)]


def inspect_command(
    model: ModelFile,
    as_json: Json = False,
    max_cut_tensors: MaxCutTensors = None,
    input_shape: InputShapes = None,
    dim: Dimensions = None,
    input_value: InputValues = None,
    output: KeptOutputs = None,
) -> None:
    """Show the blocks of a model and the cuts between them.

    Cut I lies before block I. For example, `segue split --at 3,7` makes segments of the blocks 0 to 2, 3 to 6, and 7
    to the end.

    A block with rows can be split into tiles of them, `segue split --tiles 3`. A halo of 1+2 means that a tile needs
    one row of the block's input above the place of its own rows, and two below.
    """
    from shared.model.onnx_file import load_model

    adaptation = read_adaptation(input_shape, dim, input_value, output)
    analysis = load_model(model, adaptation=adaptation, max_cut_tensors=max_cut_tensors).analysis
    if as_json:
        print_json(_inspection(analysis))
    else:
        _show_inspection(analysis, model.name)


def split_command(
    model: ModelFile,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory to write to; it is made if need be.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="CUT[,CUT...]",
            help="Numbers of cuts, ascending. Not given, with tiles: the whole model is one segment.",
            show_default=False,
        ),
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            "--tiles",
            metavar="N",
            min=1,
            help="Divide each segment that can be tiled into N tiles of equal height.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--rows",
            metavar="[SEGMENT=]TOP:BOTTOM,...",
            help="Divide a segment into tiles with these rows of its output, such as 0:80,80:224. Repeat it for more "
            "segments; the number may be left out where only one segment can be tiled.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    max_cut_tensors: MaxCutTensors = None,
    input_shape: InputShapes = None,
    dim: Dimensions = None,
    input_value: InputValues = None,
    output: KeptOutputs = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random input that verifies.")] = 0,
) -> None:
    """Write the segments of a model as ONNX files, and verify them against the whole model.

    DIR gets segment_0.onnx, segment_1.onnx, ... and split.json. That file lists the inputs and outputs of each segment
    and the error of the chain of segments against the whole model.

    A tile of a segment computes some rows of its output from some rows of its input: with --tiles or --rows, DIR gets
    segment_0_tile_0.onnx, ... too, and split.json their rows. 'segue model inspect' shows which blocks can be tiled.
    """
    from shared.model.onnx_file import split as split_file

    choice = read_tile_choice(tiles, rows)
    if at is None and choice is None:
        raise InputError("nothing to split at: give --at with the numbers of cuts, or --tiles, or --rows")
    parts = split_file(
        model,
        () if at is None else _cuts(at),
        adaptation=read_adaptation(input_shape, dim, input_value, output),
        max_cut_tensors=max_cut_tensors,
        seed=seed,
        tiles=choice,
    )
    try:
        parts.write(out)
    except OSError as exc:
        raise InputError(f"cannot write to {out}: {exc.strerror or exc}") from exc
    if not parts.report.agrees(parts.model.computed_types):
        error = parts.report.max_abs_error
        notes_console().print(f"warning: the chain of segments is not the whole model: it is off by {error:.3g}")
    for segment, reason in parts.untiled.items():
        notes_console().print(f"note: segment {segment} has no tiles: {reason}", soft_wrap=True)
    for segment in parts.tiles_that_differ():
        notes_console().print(f"warning: the tiles of segment {segment} do not make its output")
    if as_json:
        print_json(parts.describe())
    else:
        _show_split(parts.describe(), out)


def _cuts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(cut) for cut in text.split(","))
    except ValueError:
        raise InputError(f"--at {text!r} is not of the form 3,7") from None


def _inspection(analysis: ModelAnalysis) -> dict[str, Any]:
    return {
        "sha256": analysis.sha256,
        "input": [_tensor(spec) for spec in analysis.input],
        "blocks": [_block(block) for block in analysis.blocks],
        "cuts": [
            {"index": cut.index, "tensors": [spec.name for spec in cut.tensors], "size_bytes": cut.size_bytes}
            for cut in analysis.cuts
        ],
        "outputs": [_tensor(spec) | {"shape": _output_shape(analysis, spec)} for spec in analysis.outputs],
    }


def _block(block: BlockAnalysis) -> dict[str, Any]:
    halo = None if block.rows is None else [block.rows.halo_above, block.rows.halo_below]
    return asdict(block) | {"tileable": block.tileable, "halo": halo}


def _output_shape(analysis: ModelAnalysis, spec: Tensor) -> list[int | None]:
    """Return the shape of an output, with None for sizes that only a run tells."""
    dynamic = spec.name in analysis.dynamic_outputs
    return [None if dynamic and size == 0 else size for size in spec.shape]


def _tensor(spec: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "shape": spec.shape, "dtype": spec.dtype.value}


def _show_inspection(analysis: ModelAnalysis, name: str) -> None:
    inputs = ", ".join(f"{t.name} {'x'.join(map(str, t.shape))} {t.dtype.value}" for t in analysis.input)
    table = Table(title=f"{name}  {analysis.sha256[:12]}", caption=f"input: {inputs}, {_mib(analysis.input_bytes)} MiB")
    table.add_column("cut,\nblock", justify="right", no_wrap=True)
    table.add_column("crosses\nbefore it", overflow="fold")
    table.add_column("name", overflow="fold")
    for heading in ("MFLOP", "weights\nMiB", "output\nMiB", "memory\nMiB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("halo", no_wrap=True)
    cuts = {cut.index: ", ".join(tensor.name for tensor in cut.tensors) for cut in analysis.cuts}
    for index, block in enumerate(analysis.blocks):
        table.add_row(
            str(index),
            cuts.get(index, "(input)"),
            block.name,
            f"{block.flops / 1e6:,.1f}",
            _mib(block.parameter_bytes),
            _mib(block.output_bytes),
            _mib(block.peak_activation_bytes),
            "" if block.rows is None else str(block.rows.output_rows),
            "" if block.rows is None else f"{block.rows.halo_above}+{block.rows.halo_below}",
        )
    results_console().print(table)
    _show_tileable(analysis)
    for spec in analysis.outputs:
        if spec.name in analysis.dynamic_outputs:
            shape = "x".join("?" if size is None else str(size) for size in _output_shape(analysis, spec))
            notes_console().print(
                f"note: output {spec.name} is {shape} {spec.dtype.value}: only a run tells its size. Planning counts "
                f"{spec.size_bytes} bytes for it, and no cut lies behind the node that makes its size depend on data.",
                soft_wrap=True,
            )


def _show_tileable(analysis: ModelAnalysis) -> None:
    """Print the stretches that can be tiled, and what ends each."""
    console = results_console()
    stretches = tileable_stretches(analysis.blocks, 0, len(analysis.blocks))
    for start, stop in stretches:
        end = f"; block {stop}: {analysis.blocks[stop].untileable}" if stop < len(analysis.blocks) else ""
        console.print(f"Blocks {start} to {stop - 1} can be tiled{end}.", soft_wrap=True)
    if not stretches:
        console.print(f"No block can be tiled; block 0: {analysis.blocks[0].untileable}.", soft_wrap=True)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.3f}"


def _show_split(result: dict[str, Any], folder: Path) -> None:
    table = Table(title=f"written to {folder}")
    for heading in ("file", "blocks", "bytes", "inputs", "outputs"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "bytes" else "left")
    for segment in result["segments"]:
        start, stop = segment["blocks"]
        names = [", ".join(segment[key]) for key in ("inputs", "outputs")]
        table.add_row(segment["file"], f"[{start}, {stop})", f"{segment['size_bytes']:,}", *names)
    console = results_console()
    console.print(table)
    if any("tiles" in segment for segment in result["segments"]):
        console.print(_tile_table(result))
    if result["bit_exact"]:
        console.print("The chain of segments agrees with the whole model bit for bit.")
        return
    console.print(
        f"Largest error against the whole model: {result['max_abs_error']:.3g}, "
        f"{result['max_rel_error']:.3g} of the largest output. Without processor-specific kernels it is "
        f"{'exact' if result['bit_exact_extended'] else 'not exact either'}."
    )


def _tile_table(result: dict[str, Any]) -> Table:
    table = Table(caption="error: largest difference from the segment, relative to its largest output")
    for heading in ("file", "rows", "rows of inputs", "overlap", "error"):
        table.add_column(heading, overflow="fold")
    for segment in result["segments"]:
        for index, tile in enumerate(segment.get("tiles", ())):
            needed = ", ".join(
                f"{name} {'whole' if rows is None else _range(rows)}" for name, rows in tile["inputs"].items()
            )
            errors = segment["tile_errors"]
            error = "bit-exact" if errors["bit_exact"] else f"{errors['max_rel_error']:.1e}"
            ends = ("", "") if index else (f"{segment['overlap_percent']:.1f} %", error)
            table.add_row(tile["file"], _range(tile["rows"]), needed, *ends)
    return table


def _range(rows: Sequence[int]) -> str:
    return f"[{rows[0]}, {rows[1]})"
