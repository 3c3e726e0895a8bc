"""Model files: written whole, read back bit for bit, and refused when damaged, with nothing else changed."""

import json
import os

import numpy as np
import pytest

import nnlite as nl
from nnlite import files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def make(dtype="float32", device="numpy"):
    return nl.Sequential(
        nl.Dense(3, 4, init="he_normal"),
        nl.ReLU(),
        nl.Dense(4, 2, bias=False),
        nl.Softmax(),
        dtype=dtype,
        device=device,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saved_and_loaded_is_the_same(dtype, device, path, rng):
    net = make(dtype, device)
    net.save(path, notes={"classes": ["a", "b"]})
    other = nl.load(path, device)
    assert repr(other) == repr(net) and other.notes == {"classes": ["a", "b"]}
    assert net.parameters.tobytes() == other.parameters.tobytes()
    x = rng.standard_normal((5, 3))
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_the_format_is_safetensors(path):
    library = pytest.importorskip("safetensors.numpy")
    net = make()
    net.save(path)
    for name, value in library.load_file(path).items():
        np.testing.assert_array_equal(value, net.state_dict()[name])
    other = path.with_name("other.safetensors")
    metadata = {"nnlite": json.dumps({"version": 1, "layers": layers_of(path), "dtype": "float32"})}
    library.save_file(net.state_dict(), other, metadata)
    np.testing.assert_array_equal(nl.load(other, "numpy").parameters, net.parameters)


def layers_of(path):
    with files.read(path) as file:
        return file.config["layers"]


def test_saving_onto_the_file_just_loaded(path):
    make().save(path)
    before = path.read_bytes()
    nl.load(path, "numpy").save(path)
    assert path.read_bytes() == before


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    make().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make().save(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["model.safetensors"]


def test_left_overs_of_a_killed_save_are_removed(path):
    (path.parent / f".{path.name}.abc.part").write_bytes(b"half")
    make().save(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_cut_at_every_byte_is_found(path):
    make().save(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(nl.CorruptFileError):
            nl.load(path, "numpy")


def test_a_flipped_byte_is_found_or_is_a_number(path):
    """A flip in the numbers gives other finite numbers; one in the description must never load as something else."""
    net = make()
    net.save(path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x11
        path.write_bytes(damaged)
        try:
            other = nl.load(path, "numpy")
        except nl.CorruptFileError:
            continue
        assert place >= header or [type(a) for a in other.layers] == [type(a) for a in net.layers]


def write_header(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


CONFIG = {"version": 1, "layers": [{"layer": "Dense", "inputs": 1, "outputs": 1, "bias": False}], "dtype": "float32"}


def header(tensor=None, config=None, **tensors):
    tensor = tensor or {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    return {"__metadata__": {"nnlite": json.dumps(config or CONFIG)}, "0.W": tensor, **tensors}


def test_a_hand_made_file_loads(path):
    write_header(path, header(), np.float32([2.5]).tobytes())
    assert nl.load(path, "numpy").parameters == [2.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first 8 bytes"),
        (b"\xff" * 8 + b"{}", "first 8 bytes"),
        (b"text, no model\n" * 9, "first 8 bytes"),
        (b"\x80\x04\x95" + b"\0" * 100, "first 8 bytes"),
        (b"\x04\0\0\0\0\0\0\0\xff\xfe\xfd\xfc", "header cannot be read"),
        (b"\x04\0\0\0\0\0\0\0[[[[", "header cannot be read"),
        (b"\x02\0\0\0\0\0\0\0[]", "not a JSON object"),
        (b"\x02\0\0\0\0\0\0\0{}", "description of the network cannot be read: there is none"),
    ],
)
def test_what_is_no_model_file(path, content, message):
    path.write_bytes(content)
    with pytest.raises(nl.CorruptFileError, match=message):
        nl.load(path, "numpy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "more than 20 digits"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "header cannot be read"),
    ],
)
def test_headers_made_to_hurt(path, text, message):
    write_header(path, text)
    with pytest.raises(nl.CorruptFileError, match=message):
        nl.load(path, "numpy")


@pytest.mark.parametrize(
    ("tensor", "others", "message"),
    [
        ({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}, {}, "tensor '0.W' of shape"),
        ({"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}, {}, "tensor '0.W' is not described"),
        ({"dtype": "F32", "shape": [0.5, 2], "data_offsets": [0, 4]}, {}, "tensor '0.W' is not described"),
        ({"dtype": "F16", "shape": [2, 1], "data_offsets": [0, 4]}, {}, "tensor '0.W' is not described"),
        ({"dtype": "F32", "shape": [1, 1]}, {}, "tensor '0.W' is not described"),
        ({"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 8]}, {}, "tensor '0.W' of shape"),
        ({"dtype": "F32", "shape": [1, 0], "data_offsets": [0, 0]}, {}, "4 bytes of data, but the tensors need 0"),
        (None, {"1.W": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, "starts at byte 0, expected 4"),
        (None, {"1.W": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}}, "tensor '1.W' is not expected"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, {}, r"tensor '0.W' is float32 \(1,\), expected"),
    ],
)
def test_tensors_that_do_not_fit(path, tensor, others, message):
    write_header(path, header(tensor, **others), np.float32([2.5]).tobytes())
    with pytest.raises(nl.CorruptFileError, match=message):
        nl.load(path, "numpy")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"layer": "os.system", "inputs": 1}], "layer='os.system' is not known"),
        (
            [{"layer": "Dense", "inputs": 1, "outputs": 10**9}],
            "the layers have 2000000000 parameters, the file holds 1",
        ),
        ([{"layer": "Dense", "inputs": 1, "outputs": 1, "device": "gpu", "x": 1}], "damaged"),
        ([{"layer": "ReLU"}] * 1000, "the layers have 0 parameters"),
        ([], "at least one layer"),
        ("Dense", "damaged"),
        (None, "damaged"),
    ],
)
def test_descriptions_that_are_refused(path, layers, message):
    write_header(path, header(config=CONFIG | {"layers": layers}), np.float32([2.5]).tobytes())
    with pytest.raises(nl.CorruptFileError, match=message):
        nl.load(path, "numpy")


def test_other_versions_and_numbers_that_are_none(path):
    write_header(path, header(config=CONFIG | {"version": 2}), np.float32([2.5]).tobytes())
    with pytest.raises(nl.CorruptFileError, match="written in format 2; this nnlite reads format 1"):
        nl.load(path, "numpy")
    write_header(path, header(), np.float32([np.nan]).tobytes())
    with pytest.raises(nl.CorruptFileError, match=r"tensor '0\.W' contains NaN"):
        nl.load(path, "numpy")


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(nl.CorruptFileError, match="a folder"):
        nl.load(tmp_path, "numpy")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(nl.CorruptFileError, match="device or pipe"):
        nl.load(tmp_path / "pipe", "numpy")
    with pytest.raises(FileNotFoundError):
        nl.load(tmp_path / "nothing", "numpy")


def test_own_layers_cannot_be_saved_and_say_so(path):
    class Own(nl.ReLU):
        pass

    with pytest.raises(TypeError, match=r"Own: only nnlite's own layers can be saved; keep net.state_dict\(\)"):
        nl.Sequential(nl.Dense(1, 1), Own(), device="numpy").save(path)
    assert not path.exists()
