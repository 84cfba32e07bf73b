"""Text about the blocks of a model that a device cannot run."""

from shared.messages.devices import Profile
from shared.messages.models import Manifest


def refusal_text(profile: Profile, manifest: Manifest | None) -> str:
    """Return in one sentence which blocks of a model a device cannot run, and why; empty if it runs all.

    Args:
        profile: of the device.
        manifest: of the model; None if the fleet does not have it any more.
    """
    name = profile.model[:12] if manifest is None else manifest.name
    parts = []
    for refusal in profile.refusals:
        is_whole = refusal.start <= 1 and (manifest is None or refusal.stop >= len(manifest.blocks))
        blocks = "" if is_whole else f" blocks [{refusal.start}, {refusal.stop})"
        parts.append(f"{name}{blocks}: {refusal.reason}")
    return "; ".join(parts)
