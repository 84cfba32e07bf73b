"""The workload of a fleet: the model, the payloads of its requests, and the reference outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from services.cli.support.manifest import build_manifest
from services.cli.support.packed_model import pack_model
from services.cli.support.published_model import PublishedModel, publish_into
from services.cli.support.request_files import read_payload
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.fleet_file import image_files
from services.cli.testbed.reference_outputs import ReferenceOutputs
from services.executor.errors import BadInput
from shared.exit_status import InputError
from shared.messages.models import Manifest
from shared.model.tolerance import relative_tolerance


@dataclass(frozen=True, slots=True)
class Workload:
    """The model and the requests.

    Attributes:
        manifest: the model's description.
        model_file: its file.
        published: the model as the fleet gets it.
        payloads: the payloads of requests, sent in turn.
        reference: the outputs of the whole model for all payloads.
        files: names of the payloads' files.
        notes: faults that do not prevent a run: files that are left out, outputs that are not finite, unused labels.
    """

    manifest: Manifest
    model_file: Path
    published: PublishedModel
    payloads: Sequence[bytes]
    reference: ReferenceOutputs
    files: Mapping[bytes, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_workload(fleet: Fleet, folder: Path, scratch: Path) -> Workload:
    """Read the files that `fleet` names, relative to `folder`, and run the whole model on every image.

    Args:
        fleet: the description.
        folder: base of relative paths.
        scratch: folder for the files of the model that the fleet gets.

    Raises:
        ModelError: Segue cannot cut the model.
        InputError: labels or preprocessing do not fit the model, or none of the images is an input of it.
    """
    notes: list[str] = []
    described = fleet.model
    packed = pack_model(folder / described.file, scratch, described.adaptation, described.max_cut_tensors)
    model = packed.content
    manifest = build_manifest(
        packed.file,
        model=model,
        name=described.name,
        labels=None if described.labels is None else folder / described.labels,
        preprocessing=described.preprocessing,
        output=described.output,
        softmax=described.softmax,
        on_note=notes.append,
    )
    reference = ReferenceOutputs(
        manifest, folder / described.file, relative_tolerance(model.computed_types), model.fixed_inputs
    )
    payloads: list[bytes] = []
    files: dict[bytes, str] = {}
    faults: list[str] = []
    for image in image_files(fleet, folder):
        try:
            payload = read_payload(image)
            outputs = reference.outputs(payload)
        except (BadInput, InputError) as error:
            faults.append(f"{image}: {error}")
            continue
        notes += [f"{image}: output {name!r} is not finite" for name in _not_finite(outputs)]
        payloads.append(payload)
        files.setdefault(payload, image.name)
    if not payloads:
        raise InputError("\n".join(faults))
    notes += [f"left out: {fault}" for fault in faults]
    published = publish_into(scratch, packed.file, manifest, model)
    return Workload(manifest, packed.file, published, tuple(payloads), reference, files, tuple(notes))


def _not_finite(outputs: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, values in outputs.items() if values.dtype.kind in "fc" and not np.isfinite(values).all()]
