from shared.model.architectures import build
from shared.model.partitioned_model import build_model


def test_input_bytes() -> None:
    assert build_model(build("alexnet"), sha256="").analysis.input_bytes == 602112
