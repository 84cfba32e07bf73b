"""Trial of one ONNX file for `benchmarks.model_files`: inspected, cut at every block, and run on two executors."""

import asyncio
import itertools
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np
import onnx

from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness
from broker.embedded import EmbeddedBroker
from services.cli.support.manifest import Preset, build_manifest
from services.cli.support.packed_model import FleetModel, pack_model
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.exit_status import InputError
from shared.messages.models import Manifest
from shared.messages.requests import MSGPACK_CONTENT, Outcome
from shared.messages.streams import PlanRoute, PlanStage
from shared.model.adaptation import Adaptation
from shared.model.errors import ModelError
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.verification import BlockChain, Verifier, compare, random_inputs
from shared.model.tensor import Tensor
from shared.model.tolerance import relative_tolerance
from shared.model.weights import Array

# Sizes that are tried for dimensions which a file leaves open: height and width of images, and lengths of others.
_IMAGES: Final = ((224, 224), (48, 320), (64, 256), (320, 320), (640, 640))
_LENGTHS: Final = (32, 512, 16_000, 76, 1)
_IMAGE_RANK: Final = 4
_STATE_RANK: Final = 3
# Inputs that name a constant of the model rather than data.
_FIXED: Final[Mapping[str, int]] = {"sr": 16_000}
# Where the routes of the trial are cut, as shares of the number of blocks.
_CUTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_DEVICES: Final = ("near", "far")


@dataclass(slots=True)
class Trial:
    """What happened to one file.

    Attributes:
        runtime: why ONNX Runtime does not run the file with any of the sizes; empty if it does.
        chosen: sizes and values for what the file leaves open.
        blocks: number of blocks; 0 if the file was refused.
        most_crossing: largest number of tensors at a cut.
        refusal: reason of a refusal, by Segue's words.
        tolerance: of the model's element types, relative to the largest value of an output.
        split_error: largest difference of the chain of all blocks, relative to the largest value of an output.
        absolute_error: largest difference of a value, of the chain or live.
        is_same_graph: whether the chain is the same graph without optimisations.
        live_error: largest difference of the results of two executors.
        routes: number of cuts that were run live.
        live_refusal: why the file did not run live; empty if it did.
        seconds: duration of all parts.
        memory_mb: largest memory of this process, and of an executor.
    """

    runtime: str = ""
    chosen: str = ""
    blocks: int = 0
    most_crossing: int = 0
    refusal: str = ""
    tolerance: float = 0.0
    split_error: float | None = None
    absolute_error: float = 0.0
    is_same_graph: bool = True
    live_error: float | None = None
    routes: int = 0
    live_refusal: str = ""
    seconds: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)


def adaptations(file: Path) -> Iterator[Adaptation]:
    """Yield choices for what a file leaves open, in the order in which a user might try them."""
    graph = onnx.load_model(file, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    fixed = {value.name: _FIXED[value.name] for value in inputs if value.name in _FIXED}
    seen: set[str] = set()
    for image, length in itertools.product(_IMAGES, _LENGTHS):
        shapes = {
            value.name: shape
            for value in inputs
            if value.name not in fixed and (shape := _shape(value, image, length)) is not None
        }
        if str(shapes) not in seen:
            seen.add(str(shapes))
            yield Adaptation(shapes, input_values=fixed)


def _shape(value: onnx.ValueInfoProto, image: tuple[int, int], length: int) -> tuple[int, ...] | None:
    """Return a shape for an input with open dimensions; none if it has none."""
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim]
    if None not in sizes[1:] or not value.type.tensor_type.HasField("shape"):
        return None
    if len(sizes) == _IMAGE_RANK:
        last = sizes[-1] in (1, 3)
        guess: tuple[int, ...] = (1, *image, 3) if last else (1, 3, *image)
    else:
        # A state [layers, batch, features] has its batch in the middle.
        batch = 1 if len(sizes) == _STATE_RANK and sizes[0] is not None else length
        guess = (1, *(batch if axis == 1 else length for axis in range(1, len(sizes))))
    return tuple(other if size is None else size for size, other in zip(sizes, guess, strict=True))


def choose(file: Path, folder: Path, trial: Trial) -> FleetModel | None:
    """Read a file with the first choices with which it is read and runs; note the reason if there are none."""
    for adaptation in adaptations(file):
        try:
            model = pack_model(file, folder, adaptation)
        except ModelError as error:
            trial.refusal = trial.refusal or str(error)
            trial.runtime = trial.runtime or _runtime_fault(file, adaptation)
            continue
        trial.runtime = _run_fault(file, model)
        if not trial.runtime:
            trial.refusal = ""
            sizes = [f"{name} {list(shape)}" for name, shape in adaptation.input_shapes.items()]
            trial.chosen = ", ".join(
                [*sizes, *(f"{name} = {value!s}" for name, value in adaptation.input_values.items())]
            )
            return model
    return None


def _run_fault(file: Path, model: FleetModel) -> str:
    values = {**random_inputs(model.content.analysis.input, 0), **model.content.fixed_inputs}
    try:
        ModelSession(str(file), Optimisation.NONE).run(values, model.content.graph.outputs)
    except ModelError as error:
        return str(error)
    return ""


def _runtime_fault(file: Path, adaptation: Adaptation) -> str:
    """Return why the runtime does not load a file that Segue refuses; empty if it does."""
    try:
        ModelSession(str(file), Optimisation.NONE)
    except ModelError as error:
        return str(error)
    return ""


def verify(file: Path, model: FleetModel, trial: Trial) -> None:
    """Compare the chain of all blocks with the file."""
    content = model.content
    verifier = Verifier(file, content.analysis.input, fixed_inputs=content.fixed_inputs, outputs=content.graph.outputs)
    report = verifier.verify(BlockChain(content))
    trial.split_error, trial.absolute_error = report.max_rel_error, report.max_abs_error
    trial.is_same_graph = report.is_same_graph(content.computed_types) or not verifier.repeats()


async def run_live(file: Path, model: FleetModel, folder: Path, trial: Trial) -> None:
    """Run a model on two executors, cut at several places, and compare every result with the file's."""
    manifest = build_manifest(model.file, model=model.content, name="model", preprocessing=Preset.TENSOR)
    inputs = random_inputs(model.content.analysis.input, seed=1)
    expected = ModelSession(str(file)).run({**inputs, **model.content.fixed_inputs}, model.content.graph.outputs)
    async with (
        EmbeddedBroker() as broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
        FleetHarness.open(broker.settings, "trial", {manifest.model: model.file}, accept=MSGPACK_CONTENT) as harness,
    ):
        for device in _DEVICES:
            await processes.start(device, ("executor", "--device", device, "--data-dir", str(folder / "data")))
        await harness.begin(manifest, _DEVICES[0], _DEVICES)
        errors = [0.0]
        for cut in cuts(len(manifest.blocks)):
            epoch = await harness.commit(manifest, _DEVICES[0], [route(cut, len(manifest.blocks))])
            await harness.reach(payload(inputs), epoch)
            outcome = await harness.ask(payload(inputs))
            difference = compare(expected, outputs(outcome, manifest))
            errors.append(difference.max_rel_error)
            trial.absolute_error = max(trial.absolute_error, difference.max_abs_error)
            trial.routes += 1
        trial.live_error = max(errors)


def cuts(blocks: int) -> list[int]:
    """Return the places to cut: 1 is behind `prepare`, and at the end everything runs on the first device."""
    return sorted({max(1, round(share * blocks)) for share in _CUTS})


def route(cut: int, blocks: int) -> PlanRoute:
    """Return a route over both devices, cut before block `cut`."""
    ends = [(0, cut, _DEVICES[0]), *([(cut, blocks, _DEVICES[1])] if cut < blocks else [])]
    return PlanRoute(stages=tuple(PlanStage(start=a, stop=b, device=device) for a, b, device in ends))


def payload(inputs: Mapping[str, Array]) -> bytes:
    """Return a request with these tensors."""
    packed: bytes = msgpack.packb(
        {
            name: {"dtype": values.dtype.name, "shape": list(values.shape), "data": values.tobytes()}
            for name, values in inputs.items()
        }
    )
    return packed


def outputs(outcome: Outcome, manifest: Manifest) -> dict[str, Array]:
    """Return the outputs in a result.

    Raises:
        BenchmarkFailed: One is missing.
    """
    found = {each.name: np.frombuffer(each.data, np.dtype(each.dtype)).reshape(each.shape) for each in outcome.outputs}
    missing = [spec.name for spec in manifest.outputs if spec.name not in found]
    if missing:
        raise BenchmarkFailed(f"output {missing[0]!r} is missing: {outcome.error or 'no reason given'}")
    return found


def crossing(model: FleetModel) -> int:
    """Return the largest number of tensors at a cut."""
    tensors: Sequence[Sequence[Tensor]] = [cut.tensors for cut in model.content.analysis.cuts]
    return max(map(len, tensors), default=0)


def run_trial(file: Path) -> Trial:
    """Try one file."""
    trial, started_s = Trial(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="segue-trial-") as scratch:
        folder = Path(scratch)
        model = choose(file, folder, trial)
        if model is not None:
            trial.blocks, trial.most_crossing = len(model.content.analysis.blocks), crossing(model)
            trial.tolerance = relative_tolerance(model.content.computed_types)
            try:
                verify(file, model, trial)
                asyncio.run(run_live(file, model, folder, trial))
            except* (ModelError, InputError, BenchmarkFailed) as errors:
                trial.live_refusal = "; ".join(str(error) for error in errors.exceptions)
    trial.seconds = round(time.monotonic() - started_s, 1)
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, other = (round(kibibytes / 1024, 0) for kibibytes in usage)
    trial.memory_mb = (own, other)
    return trial


def main(arguments: Sequence[str] | None = None) -> Any:
    """Try the file in the first argument, and print the trial as JSON."""
    (file,) = sys.argv[1:] if arguments is None else arguments
    print(json.dumps(asdict(run_trial(Path(file)))))


if __name__ == "__main__":
    main()
