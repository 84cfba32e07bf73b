from services.cli.render.fleet_view import DeviceView
from services.cli.render.refusal_text import refusal_texts
from shared.messages.devices import BlockRefusal, Capabilities, Presence, Profile, State
from shared.messages.models import Manifest, ManifestBlock, OperatorSet

MODEL = "a" * 64
BLOCKS = tuple(ManifestBlock(name=f"b{index}", output_bytes=1) for index in range(4))
MANIFEST = Manifest(
    model=MODEL,
    name="net",
    size_bytes=1,
    inputs=(),
    outputs=(),
    blocks=BLOCKS,
    opsets=(OperatorSet(domain="", version=21),),
)


def texts(*refusals: BlockRefusal, known: bool = True, opset: int = 0, measured: bool = True) -> list[str]:
    device = DeviceView("cam")
    device.presence = Presence(device="cam", state=State.ONLINE, capabilities=Capabilities(opset=opset))
    if measured:
        device.profiles[MODEL] = Profile(device="cam", model=MODEL, block_ms=(), refusals=refusals)
    return list(refusal_texts(device, {MODEL: MANIFEST} if known else {}))


def test_a_device_that_runs_everything_has_no_text() -> None:
    assert texts() == []


def test_the_blocks_are_named_unless_they_are_all() -> None:
    old = BlockRefusal(start=0, stop=4, reason="the engine is too old")
    large = BlockRefusal(start=2, stop=3, reason="it is too large")
    assert texts(old) == ["net: the engine is too old"]
    assert texts(large) == ["net blocks [2, 3): it is too large"]
    assert texts(old, large, known=False) == [
        "aaaaaaaaaaaa: the engine is too old; aaaaaaaaaaaa blocks [2, 3): it is too large"
    ]


def test_what_an_engine_lacks_is_told_before_the_device_has_tried() -> None:
    text = "net: the model needs opset 21, and its engine runs up to opset 20"
    assert texts(opset=20, measured=False) == [text]
    assert texts(BlockRefusal(start=1, stop=4, reason="the same in other words"), opset=20) == [text]
