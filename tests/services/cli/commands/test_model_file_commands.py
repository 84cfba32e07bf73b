"""`segue model inspect` and `segue split`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.cli.main import main
from shared.model.architectures import build
from shared.model.onnx_file import load_model, write_onnx
from tests.support.onnx_texts import onnx_bytes

Segue = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), path)
    return path


@pytest.fixture
def segue(capsys: pytest.CaptureFixture[str]) -> Segue:
    """Run the command line; return exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_inspect_prints_the_contract(segue: Segue, tiny: Path) -> None:
    status, out, _ = segue("model", "inspect", tiny, "--json")
    document = json.loads(out)
    assert status == 0
    assert document["sha256"] == load_model(tiny).sha256
    assert document["input"] == [{"name": "input", "shape": [1, 3, 32, 32], "dtype": "float32"}]
    assert [block["name"] for block in document["blocks"]][:2] == ["stem.conv", "pool1"]
    assert document["blocks"][1].items() >= {
        "output_bytes": 8192, "flops": 0, "parameter_bytes": 0, "tileable": True
    }.items()  # fmt: skip
    assert document["cuts"][1] == {"index": 2, "tensors": ["pool1"], "size_bytes": 8192}
    assert len(document["cuts"]) == len(document["blocks"]) - 1


def test_inspect_with_more_tensors_per_cut(segue: Segue, tiny: Path) -> None:
    _, out, _ = segue("model", "inspect", tiny, "--json", "--max-cut-tensors", 2)
    assert ["pool1", "residual.1.bn.relu"] in [cut["tensors"] for cut in json.loads(out)["cuts"]]


def test_inspect_shows_a_table(segue: Segue, tiny: Path) -> None:
    status, out, _ = segue("model", "inspect", tiny)
    assert status == 0
    assert "tiny.onnx" in out
    assert "residual" in out


def test_inspect_says_which_blocks_can_be_tiled_and_why_not(segue: Segue, tiny: Path) -> None:
    _, out, _ = segue("model", "inspect", tiny, "--json")
    blocks = json.loads(out)["blocks"]
    assert blocks[0]["halo"] == [1, 1]
    assert blocks[0]["rows"]["output_rows"] == 32
    assert (blocks[5]["rows"], blocks[5]["halo"]) == (None, None)
    assert "pool3" in blocks[5]["untileable"]
    _, out, _ = segue("model", "inspect", tiny)
    assert "Blocks 0 to 4 can be tiled; block 5: node 'pool3' (GlobalAveragePool) averages over all rows." in out


def test_split_writes_tiles_that_make_the_segment(segue: Segue, tiny: Path, tmp_path: Path) -> None:
    status, out, err = segue("split", tiny, "--at", "2,5", "--tiles", 2, "--out", tmp_path, "--json")
    document = json.loads(out)
    assert status == 0
    assert "segment 2 has no tiles" in err
    first = document["segments"][0]
    assert [(tile["file"], tile["rows"]) for tile in first["tiles"]] == [
        ("segment_0_tile_0.onnx", [0, 8]),
        ("segment_0_tile_1.onnx", [8, 16]),
    ]
    values = np.random.default_rng(5).standard_normal((1, 3, 32, 32), dtype=np.float32)
    (whole,) = onnxruntime.InferenceSession(str(tmp_path / "segment_0.onnx")).run(None, {"input": values})
    for tile in first["tiles"]:
        top, bottom = tile["inputs"]["input"]
        session = onnxruntime.InferenceSession(str(tmp_path / tile["file"]))
        (part,) = session.run(None, {"input": values[:, :, top:bottom]})
        np.testing.assert_allclose(part, whole[:, :, tile["rows"][0] : tile["rows"][1]], rtol=1e-5, atol=1e-5)
    assert document["with_tiles"]["max_rel_error"] <= 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tiles", 2), "choose --at 5 to tile what can be tiled"),
        (("--at", 5, "--rows", "0:4,5:8"), "segment 0: rows [4, 5) belong to no tile"),
        (("--at", 5, "--rows", "0:4,4:80"), "segment 0: rows [4, 80) lie beyond its output, which has 8 rows"),
        (("--at", 5, "--tiles", 9), "segment 0: its output has 8 rows, too few for 9 tiles"),
        ((), "give --at with the numbers of cuts, or --tiles, or --rows"),
    ],
)
def test_tiles_that_cannot_be_made(
    segue: Segue, tiny: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    status, _, err = segue("split", tiny, *options, "--out", tmp_path / "parts")
    assert status == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "parts").exists()


def test_split_writes_segments_that_chain_to_the_whole(segue: Segue, tiny: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "parts" / "deep"
    status, out, _ = segue("split", tiny, "--at", "2,5", "--out", out_dir, "--json")
    document = json.loads((out_dir / "split.json").read_text())
    assert status == 0
    assert json.loads(out) == document
    assert [segment["file"] for segment in document["segments"]] == [f"segment_{i}.onnx" for i in range(3)]
    assert [segment["blocks"] for segment in document["segments"]] == [[0, 2], [2, 5], [5, 7]]
    assert document["bit_exact"] is True
    assert document["max_abs_error"] == 0.0
    values = {"input": np.random.default_rng(5).standard_normal((1, 3, 32, 32), dtype=np.float32)}
    (expected,) = onnxruntime.InferenceSession(str(tiny)).run(None, values)
    for segment in document["segments"]:
        session = onnxruntime.InferenceSession(str(out_dir / segment["file"]))
        outputs = session.run(segment["outputs"], {name: values[name] for name in segment["inputs"]})
        values = dict(zip(segment["outputs"], outputs, strict=True))
    assert np.array_equal(values["fc"], expected)


def test_split_tells_people_too(segue: Segue, tiny: Path, tmp_path: Path) -> None:
    status, out, _ = segue("split", tiny, "--at", "3", "--out", tmp_path / "parts")
    assert status == 0
    assert "bit for bit" in out
    assert "[0, 3)" in out
    assert "\\" not in out


def test_split_of_a_model_with_an_open_shape(segue: Segue, tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    kernel = np.linspace(-1, 1, 108, dtype=np.float32).reshape(4, 3, 3, 3)
    body = "a = Conv(x, k) y = MaxPool <kernel_shape = [2,2]> (a)"
    path.write_bytes(onnx_bytes(f"g (float[N,3,H,W] x) => (float[N,4,h,w] y) {{{body}}}", k=kernel))
    status, _, err = segue("split", path, "--at", "1", "--out", tmp_path / "parts")
    assert status == 2
    assert "--input-shape x=?,3,?,?" in err.replace("\n", "")
    status, _, _ = segue("split", path, "--at", "1", "--out", tmp_path / "parts", "--input-shape", "x=1,3,9,9")
    assert status == 0
    assert json.loads((tmp_path / "parts" / "split.json").read_text())["bit_exact"] is True


def test_split_warns_when_the_chain_is_another_model(segue: Segue, tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    body = "s = Softmax(x) n = RandomNormal <shape = [1,4]> () a = Add(s, n) y = Softmax(a)"
    path.write_bytes(onnx_bytes(f"g (float[1,4] x) => (float[1,4] y) {{{body}}}"))
    status, _, err = segue("split", path, "--at", "1", "--out", tmp_path / "parts")
    assert status == 0
    assert "warning: the chain of segments is not the whole model" in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--at", "7"], "cut 7 does not exist: it has cuts 1 to 6"),
        (["--at", "0"], "cut 0 does not exist"),
        (["--at", "4,2"], "cuts have to ascend"),
        (["--at", "two"], "--at 'two' is not of the form 3,7"),
        (["--at", ""], "--at '' is not of the form 3,7"),
        (["--at", "2", "--input-shape", "32"], "not of the form name=1,3,224,224"),
        (["--at", "2", "--input-shape", "input=a,b"], "not of the form name=1,3,224,224"),
        (["--at", "2", "--input-shape", "=1,3"], "not of the form name=1,3,224,224"),
        (["--at", "2", "--input-shape", "input=1,3,64,64"], "does not fit input 'input'"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    segue: Segue, tiny: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    status, out, err = segue("split", tiny, *options, "--out", tmp_path / "parts")
    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("command", ["model inspect", "split --at 1 --out nowhere"])
@pytest.mark.parametrize(("content", "reason"), [(None, "cannot read"), (b"text", "not an ONNX file")])
def test_files_that_are_no_models(
    segue: Segue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, content: bytes | None, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    status, _, err = segue(*command.split(), path)
    assert status == 2
    assert reason in err
    assert err.count("\n") == 1


def test_a_directory_that_cannot_be_written(segue: Segue, tiny: Path) -> None:
    status, _, err = segue("split", tiny, "--at", "1", "--out", tiny / "below")
    assert status == 2
    assert "cannot write to" in err
