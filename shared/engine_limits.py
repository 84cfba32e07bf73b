"""What a model needs of an inference engine, compared with what the engine of a device has."""

from shared.messages.devices import REFUSED_MS, BlockRefusal, Capabilities, Profile
from shared.messages.models import Manifest


def engine_refusals(capabilities: Capabilities, manifest: Manifest) -> tuple[BlockRefusal, ...]:
    """Return the blocks of a model that the engine of a device cannot run, with the reasons; none if it runs all.

    What a device or a manifest does not tell counts as fulfilled. Block 0 is `prepare`, which needs no engine.
    """
    blocks = len(manifest.blocks)
    if fault := _whole_fault(capabilities, manifest):
        return (BlockRefusal(start=min(1, blocks - 1), stop=blocks, reason=fault),)
    known = set(capabilities.domains)
    if not known or all(each.domain in known or not each.domain for each in manifest.opsets):
        return ()
    return tuple(
        BlockRefusal(start=index, stop=index + 1, reason=f"{_engine(capabilities)} has no operators of {missing}")
        for index, block in enumerate(manifest.blocks)
        if (missing := ", ".join(domain for domain in block.domains if domain not in known))
    )


def with_refusals(measured: Profile | None, refusals: tuple[BlockRefusal, ...], manifest: Manifest) -> Profile | None:
    """Return a profile that has the refusals too.

    Args:
        measured: on the device; None before. It stays None unless all blocks beside `prepare` are refused.
        refusals: `engine_refusals` of the device.
        manifest: of the model.
    """
    if not refusals:
        return measured
    refused = {block for each in refusals for block in range(each.start, each.stop)}
    if measured is None:
        if len(refused) < len(manifest.blocks) - 1:
            return None
        return Profile(device="unmeasured", model=manifest.model, block_ms=(), refusals=refusals)
    block_ms = (REFUSED_MS if block in refused else taken_ms for block, taken_ms in enumerate(measured.block_ms))
    return measured.model_copy(update={"block_ms": tuple(block_ms), "refusals": (*refusals, *measured.refusals)})


def _whole_fault(capabilities: Capabilities, manifest: Manifest) -> str:
    """Return why the engine runs no block of the model; empty if it may run some."""
    if capabilities.providers and capabilities.provider not in capabilities.providers:
        offered = ", ".join(capabilities.providers)
        return f"{_engine(capabilities)} has no provider {capabilities.provider}, but {offered}"
    needed = next((each.version for each in manifest.opsets if not each.domain), 0)
    if capabilities.opset and needed > capabilities.opset:
        return f"the model needs opset {needed}, and {_engine(capabilities)} runs up to opset {capabilities.opset}"
    return ""


def _engine(capabilities: Capabilities) -> str:
    return capabilities.runtime or "its engine"
