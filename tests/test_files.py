"""Model files: written whole, read back bit for bit, and refused when damaged, with nothing else changed."""

import json
import os
import sys
import tracemalloc

import numpy as np
import pytest
from helpers import POSIX

import nnlite as nl
from nnlite import architecture, files


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


def test_a_cut_at_every_byte_is_found(path):
    make().save(path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(nl.CorruptFileError):
            nl.load(path, "numpy")


def test_every_flipped_byte_is_found(path):
    make().save(path, notes={"classes": ["a", "b"], "text": "any"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for flip in (1 << place % 8, 0x11):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(nl.CorruptFileError):
                nl.load(path, "numpy")


def test_a_checksum_that_is_gone_or_of_another_file(path):
    make().save(path)
    whole = path.read_bytes()
    assert whole[8:].startswith(files.BEFORE_CHECKSUM)
    path.write_bytes(whole.replace(b"sha256", b"sha512", 1))
    with pytest.raises(nl.CorruptFileError, match="the checksum is missing"):
        nl.load(path, "numpy")
    path.write_bytes(whole[:-4] + np.float32([1.5]).tobytes())
    with pytest.raises(nl.CorruptFileError, match="does not match its checksum"):
        nl.load(path, "numpy")


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
        (b'{"a": -0}', "-0 is no whole number"),
        (b'{"a": 1e999}', "1e999 is too large a number"),
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
        (
            {"dtype": "F32", "shape": [9] * 40_000 + [0], "data_offsets": [0, 0]},
            {},
            "tensor '0.W' is not described",
        ),
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
            r"tensor '0.W' is float32 \(1, 1\), expected float32 \(1, 1000000000\)",
        ),
        ([{"layer": "Dense", "inputs": 1, "outputs": 1, "device": "gpu", "x": 1}], "damaged"),
        ([{"layer": "Dense", "inputs": 2**70, "outputs": 1}], "more than 20 digits"),
        ([{"layer": "Dense", "inputs": 1, "outputs": 1, "device": "gpu"}], "Dense has no such arguments"),
        ([{"layer": "ReLU"}] * 1000, "tensor '0.W' is not expected"),
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


def test_a_short_error_for_a_long_name(path):
    write_header(path, header(**{"W" * 10**6: {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}}), b"\0" * 4)
    with pytest.raises(nl.CorruptFileError, match="W…' is not expected") as found:
        nl.load(path, "numpy")
    write_header(path, header(config=CONFIG | {"layers": [{"layer": "W" * 10**6}]}), b"\0" * 4)
    with pytest.raises(nl.CorruptFileError, match="is not known") as also:
        nl.load(path, "numpy")
    assert max(len(str(found.value)), len(str(also.value))) < 1000


# ---- what it costs to refuse a file -------------------------------------------------------------------------------


def peak_of_load(path):
    """Bytes reserved at most while a file is loaded, or refused."""
    tracemalloc.start()
    try:
        nl.load(path, "numpy")
    except nl.CorruptFileError as error:
        return tracemalloc.get_traced_memory()[1], str(error)
    finally:
        tracemalloc.stop()
    raise AssertionError("the file was loaded")


def large(path, shape=(1000, 2000), name="0.W", dtype="F32", last=1.0):
    """A file of 8 MB, without a checksum, that says it holds a Dense(1000, 2000) without bias."""
    config = CONFIG | {"layers": [{"layer": "Dense", "inputs": 1000, "outputs": 2000, "bias": False}]}
    data = np.zeros(2_000_000, np.float32)
    data[-1] = last
    tensor = {"dtype": dtype, "shape": list(shape), "data_offsets": [0, data.nbytes]}
    described = header(config=config)
    del described["0.W"]
    write_header(path, described | {name: tensor}, data.tobytes())
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "0.V"}, "'0.W' is missing"),
        ({"shape": (2000, 1000)}, "expected float32 (1000, 2000)"),
        ({"shape": (1000, 1000), "dtype": "F64"}, "expected float32 (1000, 2000)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_found_before_memory_is_reserved(path, change, message):
    peak, error = peak_of_load(large(path, **change))
    assert message in error and peak < 1_000_000


def test_numbers_that_are_none_are_found_in_less_memory_than_two_files(path):
    peak, error = peak_of_load(large(path, last=np.nan))
    assert "'0.W' contains NaN" in error and peak < 1.5 * path.stat().st_size


def test_nothing_is_drawn_for_a_network_that_is_loaded(path, monkeypatch):
    net = make()
    net.save(path)

    def drawn(*_):
        raise AssertionError("weights are drawn")

    monkeypatch.setattr(nl.Dense, "initial", drawn)
    np.testing.assert_array_equal(nl.load(path, "numpy").parameters, net.parameters)


def test_the_work_of_checking_layers_grows_as_their_number():
    """30,000 layers, each compared with all before it, would make 450 million comparisons."""

    def calls(count):
        made = []
        layers = [nl.ReLU() for _ in range(count)]
        sys.setprofile(lambda frame, event, argument: made.append(event))
        try:
            architecture.check_layers(layers)
        finally:
            sys.setprofile(None)
        return len(made)

    assert calls(400) < 3 * calls(200)


# ---- what may be saved --------------------------------------------------------------------------------------------

DEEP: list = []
for _ in range(200):
    DEEP = [DEEP]
ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("notes", "kind", "message"),
    [
        ({"id": 2**70}, ValueError, r"notes\['id'\] is a whole number of more than 20 digits"),
        ({"id": np.array([1.0, np.nan])}, ValueError, r"notes\['id'\]\[1\] is nan"),
        ({"a": {"b": float("inf")}}, ValueError, r"notes\['a'\]\['b'\] is inf"),
        ({1: "a", "1": "b"}, TypeError, "notes has the key 1; keys must be text, such as '1'"),
        ({"a": {2.5: 0}}, TypeError, r"notes\['a'\] has the key 2.5"),
        ({"a": {"b": 1j}}, TypeError, r"notes\['a'\]\['b'\] is a complex"),
        ({"a": {1, 2}}, TypeError, r"notes\['a'\] is a set"),
        ({"when": np.datetime64("2020-01-01")}, TypeError, r"notes\['when'\] is a date"),
        ({"x": b"raw"}, TypeError, r"notes\['x'\] is a bytes"),
        ({"x": DEEP}, ValueError, "more than 100 lists and dicts deep"),
        ({"x": ENDLESS}, ValueError, "more than 100 lists and dicts deep"),
        ({"x": "y" * 10_000_000}, ValueError, "notes take 10,000,009 bytes"),
    ],
)
def test_notes_that_could_not_be_loaded_are_refused_before_anything_is_written(path, notes, kind, message):
    make().save(path)
    before = path.read_bytes()
    with pytest.raises(kind, match=message):
        make("float64").save(path, notes)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_what_numpy_makes_can_be_noted(path):
    notes = {
        "f": np.float32(0.5),
        "i": np.int64(-(10**18)),
        "b": np.bool_(True),
        "s": np.str_("ä"),
        "a": np.arange(4).reshape(2, 2),
        "t": (1, None, {"x": 99999999999999999999}),
        "n": -99999999999999999999,
        "\ud800": "\ud800",
    }
    make().save(path, notes)
    found = nl.load(path, "numpy").notes
    assert found == notes | {"a": [[0, 1], [2, 3]], "t": [1, None, {"x": 99999999999999999999}]}
    assert [type(found[name]) for name in "fibs"] == [float, int, bool, str]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(path, value):
    make().save(path)
    before = path.read_bytes()
    net = make()
    net.layers[2].W[0, 0] = value
    with pytest.raises(ValueError, match=r"parameter '2\.W' contains NaN or infinity"):
        net.save(path)
    assert path.read_bytes() == before


# ---- files that are no files --------------------------------------------------------------------------------------


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(nl.CorruptFileError, match="a folder"):
        nl.load(tmp_path, "numpy")
    with pytest.raises(FileNotFoundError):
        nl.load(tmp_path / "nothing", "numpy")


@POSIX
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(nl.CorruptFileError, match="device or pipe"):
        nl.load(tmp_path / "pipe", "numpy")


def test_own_layers_that_are_not_registered_say_how(path):
    class Own(nl.ReLU):
        pass

    with pytest.raises(TypeError, match=r"Own is a layer of your own.*@nl\.register.*net\.state_dict\(\)"):
        nl.Sequential(nl.Dense(1, 1), Own(), device="numpy").save(path)
    assert not path.exists()


def test_a_class_that_was_made_anew_is_told(path, monkeypatch):
    monkeypatch.setattr(nl.registry, "REGISTERED", dict(nl.registry.REGISTERED))

    def cell():
        @nl.register
        class Own(nl.ReLU):
            pass

        return nl.Sequential(nl.Dense(1, 1), Own(), device="numpy")

    old, new = cell(), cell()
    new.save(path)
    with pytest.raises(TypeError, match=r"another class named Own is registered than .*: make the network anew"):
        old.save(path)
