from services.cli.render.refusal_text import refusal_text
from shared.messages.devices import BlockRefusal, Profile
from shared.messages.models import Manifest, ManifestBlock

BLOCKS = tuple(ManifestBlock(name=f"b{index}", output_bytes=1) for index in range(4))
MANIFEST = Manifest(model="a" * 64, name="net", size_bytes=1, inputs=(), outputs=(), blocks=BLOCKS)


def profile(*refusals: BlockRefusal) -> Profile:
    return Profile(device="cam", model="a" * 64, block_ms=(), refusals=refusals)


def test_a_device_that_runs_everything_has_no_text() -> None:
    assert refusal_text(profile(), MANIFEST) == ""


def test_the_blocks_are_named_unless_they_are_all() -> None:
    old = BlockRefusal(start=0, stop=4, reason="the engine is too old")
    large = BlockRefusal(start=2, stop=3, reason="it is too large")
    assert refusal_text(profile(old), MANIFEST) == "net: the engine is too old"
    assert refusal_text(profile(large), MANIFEST) == "net blocks [2, 3): it is too large"
    assert (
        refusal_text(profile(old, large), None)
        == "aaaaaaaaaaaa: the engine is too old; aaaaaaaaaaaa blocks [2, 3): it is too large"
    )
