import pytest

from shared.model.analysis import virtual_blocks
from shared.model.architectures import build
from shared.model.model import build_model


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("alexnet", ["pool1", "pool2", "pool5.flatten", "fc6.relu"]),
        ("vgg16", ["pool4", "pool5.flatten", "fc6.relu"]),
        ("squeezenet", ["fire2.squeeze.relu", "fire4.squeeze.relu", "fire6.squeeze.relu"]),
    ],
)
def test_virtual_blocking_keeps_cuts_smaller_than_all_before_them(name, tensors):
    analysis = build_model(build(name), sha256="").analysis
    kept = [analysis.cuts[index - 1] for index in virtual_blocks(analysis)]
    assert [cut.tensors[0].name for cut in kept] == tensors
    sizes = [analysis.input_bytes, *(cut.size_bytes for cut in kept)]
    assert sizes == sorted(set(sizes), reverse=True)


def test_input_bytes():
    assert build_model(build("alexnet"), sha256="").analysis.input_bytes == 602112
