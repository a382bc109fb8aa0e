# SPDX-License-Identifier: GPL-3.0-or-later
"""Model packages: what fits is read, what doesn't is refused in one sentence, nothing runs on the way."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from toy_package import NAMES, STYLES, decoder_arrays, write_json

from inference import Cancelled, LipSyncModel, ModelError, ModelPackage, Speech, list_packages
from inference.compact import pack


def test_reads_the_toy(toy_folder: Path) -> None:
    package = ModelPackage.read(toy_folder)
    assert package.output_names == NAMES and package.styles == STYLES and package.fps == 50.0


def test_lists_good_and_bad(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "worse")
    (folder.parent / "worse" / "decoder.npz").write_bytes(b"something else")
    kinds = [type(item) for item in list_packages(folder.parent)]
    assert kinds == [ModelPackage, ModelError]


def test_no_json(folder: Path) -> None:
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json"):
        ModelPackage.read(folder)


def test_wrong_hash(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="not the file"):
        ModelPackage.read(folder)


def test_missing_graph(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="missing"):
        ModelPackage.read(folder)


def test_graph_that_may_not_be_read(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with pytest.raises(ModelError, match=r"cannot be read \("):
        ModelPackage.read(folder)


@pytest.mark.skipif(os.name == "nt", reason="there are no such devices")
@pytest.mark.parametrize("name", ["model.onnx", "wav2sem.onnx", "decoder.npz"])
@pytest.mark.parametrize("kind", ["device", "pipe", "process", "empty"])
def test_files_that_may_never_end(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "empty":
        (folder / name).touch()
    else:
        (folder / name).symlink_to("/dev/zero" if kind == "device" else "/proc/self/maps")
    with pytest.raises(ModelError, match=r"cannot be read \(it is empty or no file\)|is missing"):
        ModelPackage.read(folder)


@pytest.mark.parametrize("location", ["hear.bin", "../hear.bin", "{}/hear.bin"])
def test_weights_beside_the_graph_are_not_read(folder: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody vouches for them: model.json promises the graph's SHA-256 alone."""
    graph = onnx.load(folder / "model.onnx")
    hear = next(array for array in graph.graph.initializer if array.name == "hear")
    (folder / "hear.bin").write_bytes(hear.raw_data)
    onnx.external_data_helper.set_external_data(hear, location.format(folder))
    hear.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    write_json(folder)
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match="cannot be run"):
        LipSyncModel.load(folder)


@pytest.mark.parametrize("schema", [0, 2, "1", None, [1]])
def test_other_schema(folder: Path, schema: object) -> None:
    write_json(folder, schema=schema)
    with pytest.raises(ModelError, match="schema"):
        ModelPackage.read(folder)


@pytest.mark.parametrize("name", ["../decoder.npz", "/etc/passwd", "script.py"])
def test_files_elsewhere_are_refused(folder: Path, name: str) -> None:
    files = json.loads((folder / "model.json").read_text())["files"]
    write_json(folder, files=files | {name: "0" * 64})
    with pytest.raises(ModelError, match="files"):
        ModelPackage.read(folder)


OFFICIAL = {"kind": "wav2vec2", "kernels": [10, 3], "strides": [5, 2]}


@pytest.mark.parametrize(
    "encoder",
    [
        1, {}, {"kind": "hubert"}, {"kind": "wav2vec2"}, OFFICIAL | {"strides": [5]}, OFFICIAL | {"kernels": [0, 3]},
        OFFICIAL | {"kernels": [10**9, 3]}, OFFICIAL | {"strides": "5,2"}, OFFICIAL | {"longest": 0},
        OFFICIAL | {"longest": "long"}, OFFICIAL | {"longest": True}, OFFICIAL | {"longest": 10**400},
        OFFICIAL | {"kernels": [3, 2], "strides": [4, 2]}, OFFICIAL | {"kernels": [64] * 16, "strides": [64] * 16},
    ],
)  # fmt: skip
def test_odd_encoders_are_refused(folder: Path, encoder: object) -> None:
    write_json(folder, encoder=encoder)
    with pytest.raises(ModelError, match=r"model\.json"):
        ModelPackage.read(folder)


def test_official_encoder_and_other_meshes(folder: Path) -> None:
    write_json(folder, encoder=OFFICIAL | {"longest": None}, topology="vertices-500", output={"kind": "vertices"})
    package = ModelPackage.read(folder)
    assert (package.encoder_kind, package.strides, package.vertices) == ("wav2vec2", (5, 2), 500)
    assert package.encoder_longest == float("inf")


@pytest.mark.parametrize("field", [{"name": "Half \ud83d"}, {"id": "\udc00"}, {"styles": ["\ud83d"]}])
def test_half_a_character_is_refused(folder: Path, field: dict[str, object]) -> None:
    """Blender's lists stumble over it, and one such folder would hide all models."""
    write_json(folder, **field)
    with pytest.raises(ModelError, match=f"no usable “{next(iter(field))}”"):
        ModelPackage.read(folder)


@pytest.mark.parametrize("fps", [40, 62.5, 16000 / 288])
def test_rates_of_whole_samples_are_read(folder: Path, fps: float) -> None:
    write_json(folder, fps=fps)
    assert ModelPackage.read(folder).fps == fps


@pytest.mark.parametrize("fps", [0, 30, 60, 33.3, 55.56, 1000, "50", True])
def test_rates_that_drift_are_refused(folder: Path, fps: object) -> None:
    """A graph answers once per whole number of samples: 16 kHz are no whole number of samples 30 times a second."""
    write_json(folder, fps=fps)
    with pytest.raises(ModelError, match="fps"):
        ModelPackage.read(folder)


def test_blendshapes_need_a_flame_head(folder: Path) -> None:
    write_json(folder, topology="biwi-23370")
    with pytest.raises(ModelError, match="FLAME"):
        ModelPackage.read(folder)


@pytest.mark.parametrize("topology", ["flame", "vertices-0", "vertices-99999999", "vertices--3", "vertices-5 "])
def test_unknown_topologies_are_refused(folder: Path, topology: str) -> None:
    write_json(folder, topology=topology)
    with pytest.raises(ModelError, match="topology"):
        ModelPackage.read(folder)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_field_may_hold_anything(folder: Path, data: st.DataObject) -> None:
    """Replace a field by any JSON value: the package is read or refused, and nothing else is raised."""
    write_json(folder)
    fields = sorted(json.loads((folder / "model.json").read_text()))
    write_json(folder, **{data.draw(st.sampled_from(fields)): data.draw(json_values)})
    try:
        package = ModelPackage.read(folder)
    except ModelError as error:
        assert str(error).endswith(".")
    else:
        assert package.styles and package.fps > 0


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"', "\x00", "[" * 100_000])
def test_broken_json(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelError):
        ModelPackage.read(folder)


def spoil(folder: Path, **arrays: np.ndarray) -> None:
    np.savez(folder / "decoder.npz", **(decoder_arrays() | arrays))
    write_json(folder)


def test_nan_weights(folder: Path) -> None:
    spoil(folder, **{"vertice_map.bias": np.full(16, np.nan, np.float32)})
    with pytest.raises(ModelError, match="finite"):
        LipSyncModel.load(folder)


def test_weights_beyond_float32(folder: Path) -> None:
    spoil(folder, **{name: array.astype(np.float64) * 1e300 for name, array in decoder_arrays().items()})
    with pytest.raises(ModelError, match="finite"):
        LipSyncModel.load(folder)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_weights_that_overflow_on_the_way(folder: Path, babble: np.ndarray) -> None:
    spoil(folder, **{name: np.sign(array) * np.float32(3e38) for name, array in decoder_arrays().items()})
    with pytest.raises(ModelError, match="moves by values that are no numbers; get a whole model"):
        LipSyncModel.load(folder).run(Speech(babble))


@pytest.mark.parametrize(
    "name", ["vertice_map_r.weight", "vertice_map_r.bias", "transformer_decoder.layers.0.norm3.weight"]
)
@pytest.mark.parametrize("size", [1e8, 1e19, 3e38])
def test_vertices_beyond_any_face(name: str, size: float, folder: Path, babble: np.ndarray) -> None:
    """Squares of such offsets overflow: reports were infinite, and the largest error 0."""
    arrays = decoder_arrays(outputs=3 * 7)
    arrays[name] = np.sign(arrays[name] + 1e-9) * np.float32(size)
    np.savez(folder / "decoder.npz", **arrays)
    write_json(folder, topology="vertices-7", output={"kind": "vertices"}, lip_vertices=[])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelError, match=r"further than any face|no numbers"):
            LipSyncModel.load(folder).run(Speech(babble))


def test_more_weights_than_a_decoder_has(folder: Path) -> None:
    """Zeros deflate to almost nothing: what the directory claims is checked before they are inflated."""
    raw = pack({"evil": np.zeros(1000, np.float32)})
    (folder / "decoder.npz").write_bytes(raw.replace((4128).to_bytes(4, "little"), (600 << 20).to_bytes(4, "little")))
    write_json(folder)
    with pytest.raises(ModelError, match="damaged") as caught:
        LipSyncModel.load(folder)
    assert "larger than any can be" in str(caught.value.__cause__)


def test_pickled_weights_do_not_run(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (folder / "exploded",))

    spoil(folder, **{"vertice_map.bias": np.array([Bomb()], dtype=object)})
    with pytest.raises(ModelError):
        LipSyncModel.load(folder)
    assert not (folder / "exploded").exists()


def test_truncated_weights(folder: Path) -> None:
    raw = (folder / "decoder.npz").read_bytes()
    (folder / "decoder.npz").write_bytes(raw[: len(raw) // 2])
    write_json(folder)
    with pytest.raises(ModelError, match="damaged"):
        LipSyncModel.load(folder)


def test_graph_that_is_no_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a graph")
    write_json(folder)
    with pytest.raises(ModelError, match=r"cannot be run \([^\n]{1,200}\); choose another model"):
        LipSyncModel.load(folder)


def test_weights_without_dimensions(folder: Path) -> None:
    spoil(folder, **{"transformer_decoder.layers.0.linear1.bias": np.array(1.0, np.float32)})
    with pytest.raises(ModelError, match="linear"):
        LipSyncModel.load(folder)


def test_graph_that_answers_with_something_else(folder: Path) -> None:
    """Half as many frames as model.json says, a width that is not the decoder's, no numbers."""
    speech = Speech(np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1)
    write_json(folder, fps=25)
    with pytest.raises(ModelError, match=r"hears \(1, 50, 16\) where its decoder needs \(1, 25, 16\)"):
        LipSyncModel.load(folder).run(speech)
    np.savez(folder / "decoder.npz", **decoder_arrays(d=8))
    write_json(folder)
    with pytest.raises(ModelError, match=r"hears \(1, 50, 16\) where its decoder needs \(1, 50, 8\)"):
        LipSyncModel.load(folder).run(speech)
    np.savez(folder / "decoder.npz", **decoder_arrays())
    graph = onnx.load(folder / "model.onnx")
    hear = next(array for array in graph.graph.initializer if array.name == "hear")
    hear.CopyFrom(onnx.numpy_helper.from_array(np.full((320, 16), np.nan, np.float32), "hear"))
    onnx.save(graph, folder / "model.onnx")
    write_json(folder)
    with pytest.raises(ModelError, match="no numbers; get a whole model"):
        LipSyncModel.load(folder).run(speech)


def answer_with(folder: Path, path: str, inputs: list[str], node: onnx.NodeProto, kind: onnx.TypeProto) -> None:
    """Make a graph of the package answer with what `node` makes."""
    (output,) = node.output
    takes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in inputs]
    gives = helper.make_value_info(output, kind)
    model = helper.make_model(
        helper.make_graph([node], "g", takes, [gives]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, folder / path)
    write_json(folder)


@pytest.mark.parametrize("kind", ["sequence", "texts", "whole numbers"])
@pytest.mark.parametrize(
    ("path", "output", "inputs"),
    [("model.onnx", "memory", ["speech", "semantic"]), ("wav2sem.onnx", "semantic", ["speech"])],
)
def test_graph_that_answers_with_no_numbers(
    folder: Path, babble: np.ndarray, path: str, output: str, inputs: list[str], kind: str
) -> None:
    if kind == "sequence":
        node = helper.make_node("SequenceConstruct", inputs[:1], [output])
        found = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    else:
        of = TensorProto.STRING if kind == "texts" else TensorProto.INT64
        values = [b"q"] * 2400 if kind == "texts" else [1] * 2400
        node = helper.make_node("Constant", [], [output], value=helper.make_tensor("x", of, [1, 150, 16], values))
        found = helper.make_tensor_type_proto(of, None)
    answer_with(folder, path, inputs, node, found)
    with pytest.raises(ModelError, match=f"“{path}” answers with something other than numbers"):
        LipSyncModel.load(folder).run(Speech(babble))


@pytest.fixture
def endless(folder: Path) -> Path:
    """A package with a loop of 2^62 rounds."""
    round_of = helper.make_tensor_value_info("round", TensorProto.INT64, [])
    on, goes_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "goes_on"))
    was, now = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in ("was", "now"))
    same = [helper.make_node("Identity", ["on"], ["goes_on"]), helper.make_node("Identity", ["was"], ["now"])]
    once = helper.make_graph(same, "body", [round_of, on, was], [goes_on, now])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "yes", "speech"], ["semantic"], body=once)],
        "g",
        [helper.make_tensor_value_info("speech", TensorProto.FLOAT, [1, None])],
        [helper.make_tensor_value_info("semantic", TensorProto.FLOAT, [1, None])],
        [helper.make_tensor("rounds", TensorProto.INT64, [], [1 << 62]),
         helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "wav2sem.onnx")
    write_json(folder)
    return folder


def test_a_graph_that_never_ends_can_be_cancelled(endless: Path, babble: np.ndarray) -> None:
    lips, asked = LipSyncModel.load(endless), itertools.count()
    with pytest.raises(Cancelled, match="nothing was changed"):
        lips.run(Speech(babble), cancelled=lambda: next(asked) > 3)


def test_ctrl_c_ends_a_graph_that_never_ends(endless: Path, babble: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", babble, 16000)
    script = """if True:
        import signal, sys, threading, _thread
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, as in the background
        from inference import lipsync_model
        from inference.__main__ import main
        listen = lipsync_model.AudioEncoder.listen
        def interrupted(*args, **options):
            threading.Timer(0.5, _thread.interrupt_main).start()
            return listen(*args, **options)
        lipsync_model.AudioEncoder.listen = interrupted
        sys.exit(main(sys.argv[1:]))"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.wav"), "-o", str(tmp_path / "m.npz")]
    done = subprocess.run(
        [*command, "--model", str(endless)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "Error: Cancelled; nothing was changed.\n")


def test_unknown_blendshape(folder: Path) -> None:
    write_json(folder, output={"kind": "blendshapes", "names": [*NAMES[:-1], "tentacleLeft"]})
    with pytest.raises(ModelError, match="tentacleLeft"):
        LipSyncModel.load(folder)
