"""Text about the blocks of a model that a device cannot run."""

from collections.abc import Iterator, Mapping, Sequence

from services.cli.render.fleet_view import DeviceView
from shared.engine_limits import engine_refusals
from shared.messages.devices import BlockRefusal, Capabilities
from shared.messages.models import Manifest


def refusal_texts(device: DeviceView, manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Yield a sentence for each model of which a device cannot run all blocks: by its engine, or as it has found.

    Args:
        device: as it is known on the bus.
        manifests: of the fleet's models, by their SHA-256.
    """
    capabilities = Capabilities() if device.presence is None else device.presence.capabilities
    for model in dict.fromkeys((*device.profiles, *manifests)):
        manifest, profile = manifests.get(model), device.profiles.get(model)
        refusals = () if manifest is None else engine_refusals(capabilities, manifest)
        if not refusals and profile is not None:
            refusals = profile.refusals
        if refusals:
            yield _text(model[:12] if manifest is None else manifest.name, refusals, manifest)


def _text(name: str, refusals: Sequence[BlockRefusal], manifest: Manifest | None) -> str:
    parts = []
    for refusal in refusals:
        is_whole = refusal.start <= 1 and (manifest is None or refusal.stop >= len(manifest.blocks))
        blocks = "" if is_whole else f" blocks [{refusal.start}, {refusal.stop})"
        parts.append(f"{name}{blocks}: {refusal.reason}")
    return "; ".join(parts)
