"""The workload of a fleet: the model, the payloads of its requests, and the reference outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.support.manifest import build_manifest, read_model
from services.cli.support.request_files import read_payload
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.fleet_file import image_files
from services.cli.testbed.reference_outputs import ReferenceOutputs
from services.executor.errors import BadInput
from shared.messages.models import Manifest
from shared.model.tolerance import relative_tolerance
from shared.service_runtime import InputError


@dataclass(frozen=True, slots=True)
class Workload:
    """The model and the requests.

    Attributes:
        manifest: the model's description.
        model_file: its file.
        payloads: the payloads of requests, sent in turn.
        reference: the outputs of the whole model for all payloads.
    """

    manifest: Manifest
    model_file: Path
    payloads: Sequence[bytes]
    reference: ReferenceOutputs


def read_workload(fleet: Fleet, folder: Path) -> Workload:
    """Read the files that `fleet` names, relative to `folder`, and run the whole model on every image.

    Raises:
        ModelError: Segue cannot cut the model.
        InputError: labels, preprocessing or an image do not fit the model, or a file cannot be read.
    """
    described = fleet.model
    model_file = folder / described.file
    model = read_model(model_file, described.input_shapes)
    manifest = build_manifest(
        model_file,
        model=model,
        name=described.name,
        labels=None if described.labels is None else folder / described.labels,
        preprocessing=described.preprocessing,
        output=described.output,
        softmax=described.softmax,
    )
    reference = ReferenceOutputs(manifest, model_file, relative_tolerance(model.computed_types))
    payloads: list[bytes] = []
    for image in image_files(fleet, folder):
        try:
            payload = read_payload(image)
            reference.outputs(payload)
        except BadInput as error:
            raise InputError(f"{image}: {error}") from error
        payloads.append(payload)
    return Workload(manifest, model_file, tuple(payloads), reference)
