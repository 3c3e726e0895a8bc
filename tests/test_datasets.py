"""Data sets: the right rows from every source, and a clear refusal of a bad argument, file or download."""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnlite import datasets

# --- toy sets -----------------------------------------------------------------

CLASS_SETS = [datasets.moons, datasets.circles, datasets.spirals, datasets.blobs]


@pytest.mark.parametrize("name", ["and", "nand", "nor", "or", "xnor", "xor"])
def test_logic_gate_is_its_truth_table(name: str) -> None:
    x, y = datasets.logic_gate(name)
    assert x.shape == (4, 2) and y.shape == (4, 1)
    assert x.dtype == y.dtype == np.float64
    for a, b, out in np.column_stack([x, y]).astype(bool).tolist():
        plain = {"and": a and b, "or": a or b, "xor": a != b}
        negated = {"nand": not (a and b), "nor": not (a or b), "xnor": a == b}
        assert out == (plain | negated)[name]


@pytest.mark.parametrize("name", ["XOR", "", None, 3, ["xor"]])
def test_unknown_gate_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(ValueError, match="is not known; choose one of 'and', 'nand', 'nor', 'or', 'xnor', 'xor'"):
        datasets.logic_gate(name)


@pytest.mark.parametrize("make", CLASS_SETS)
@pytest.mark.parametrize("n", [7, 200, 301])
def test_class_sets_have_n_rows_in_balance_and_shuffled(make: Any, n: int) -> None:
    x, y = make(n=n)
    assert x.shape == (n, 2) and y.shape == (n,)
    assert x.dtype == np.float64 and y.dtype == np.int64
    assert np.isfinite(x).all()
    sizes = np.bincount(y)
    assert sizes.sum() == n and sizes.max() - sizes.min() <= 1
    assert (np.diff(y) != 0).sum() > len(sizes) - 1  # sorted labels would change K - 1 times only


@pytest.mark.parametrize("make", [datasets.spirals, datasets.blobs])
@pytest.mark.parametrize("classes", [2, 5])
def test_number_of_classes(make: Any, classes: int) -> None:
    _, y = make(n=23, classes=classes)
    assert np.unique(y).tolist() == list(range(classes))


@pytest.mark.parametrize("make", [*CLASS_SETS, datasets.sine])
def test_the_seed_decides(make: Any) -> None:
    first, same, other = make(seed=3), make(seed=np.int64(3)), make(seed=4)
    np.testing.assert_array_equal(first[0], same[0])
    np.testing.assert_array_equal(first[1], same[1])
    assert not np.array_equal(first[0], other[0])


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    datasets.split(*datasets.moons())
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(before, after)


def test_without_noise_the_points_lie_on_their_curves() -> None:
    x, y = datasets.circles(n=50, noise=0, factor=0.25)
    np.testing.assert_allclose(np.hypot(*x.T), np.where(y == 0, 1, 0.25))
    x, y = datasets.moons(n=50, noise=0)
    np.testing.assert_allclose(np.hypot(*x[y == 0].T), 1)
    np.testing.assert_allclose(np.hypot(*(x[y == 1] - [1, 0.5]).T), 1)
    assert (x[y == 0, 1] >= 0).all() and (x[y == 1, 1] <= 0.5).all()
    x, y = datasets.spirals(n=60, classes=4, noise=0, turns=1)
    angle = np.arctan2(x[:, 1], x[:, 0]) - 2 * np.pi * (y / 4 + np.hypot(*x.T))
    np.testing.assert_allclose(np.cos(angle), 1)
    x, y = datasets.blobs(n=9, classes=3, spread=0)
    np.testing.assert_allclose(x, np.column_stack([np.cos(2 * np.pi * y / 3), np.sin(2 * np.pi * y / 3)]))
    x, y = datasets.sine(n=50, noise=0)
    assert x.shape == y.shape == (50, 1)
    np.testing.assert_array_equal(y, np.sin(x))


@pytest.mark.parametrize("make", [datasets.moons, datasets.circles, datasets.spirals, datasets.sine])
def test_noise_is_a_standard_deviation(make: Any) -> None:
    noisy, plain = make(n=4000, noise=0.2), make(n=4000, noise=0)
    error = np.column_stack(noisy) - np.column_stack(plain)
    assert error[:, error.any(axis=0)].std() == pytest.approx(0.2, rel=0.05)


BAD_ARGUMENTS = [
    *[(make, "n", n) for make in [*CLASS_SETS, datasets.sine] for n in (0, -1, 2.5, True, "9", None)],
    *[(make, "seed", seed) for make in [*CLASS_SETS, datasets.sine] for seed in (-1, 0.5, None, "0", False)],
    *[
        (make, name, value)
        for value in (-0.1, math.nan, math.inf, "0.1", None, True)
        for make, name in [
            (datasets.moons, "noise"),
            (datasets.circles, "noise"),
            (datasets.spirals, "noise"),
            (datasets.spirals, "turns"),
            (datasets.blobs, "spread"),
            (datasets.sine, "noise"),
        ]
    ],
    *[(datasets.circles, "factor", value) for value in (0, 1, -0.5, math.nan, "0.5", None)],
    *[(make, "classes", value) for make in (datasets.spirals, datasets.blobs) for value in (1, 0, 2.0, None)],
]


@pytest.mark.parametrize(("make", "name", "value"), BAD_ARGUMENTS)
def test_bad_argument_is_named_with_its_value(make: Any, name: str, value: Any) -> None:
    whole = name in ("n", "seed", "classes")
    right_type = type(value) is int or (type(value) is float and not whole)
    error = ValueError if right_type else TypeError
    with pytest.raises(error, match=f"^{name} must be .*, not {value!r}"):
        make(**{name: value})


@pytest.mark.parametrize("make", [datasets.spirals, datasets.blobs])
def test_fewer_rows_than_classes(make: Any) -> None:
    with pytest.raises(ValueError, match="n must be at least 5, not 4"):
        make(n=4, classes=5)


# --- split --------------------------------------------------------------------


def test_split_keeps_every_pair_once() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    part = datasets.split(x, y, test=0.3, seed=1)
    assert [len(array) for array in part] == [7, 7, 3, 3]
    together = np.concatenate([part.y_train, part.y_test])
    np.testing.assert_array_equal(np.concatenate([part.x_train, part.x_test]), x[together])
    assert sorted(together.tolist()) == list(range(10)) and together.tolist() != list(range(10))
    assert part._fields == ("x_train", "y_train", "x_test", "y_test")
    np.testing.assert_array_equal(datasets.split(x, y, test=0.3, seed=1).y_test, part.y_test)
    assert not np.array_equal(datasets.split(x, y, test=0.3, seed=2).y_train, part.y_train)


def imbalanced(rng: np.random.Generator, counts: list[int]) -> tuple[Any, Any]:
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return np.arange(len(y)).reshape(-1, 1), y


@pytest.mark.parametrize("counts", [[90, 10], [50, 49, 1], [3, 3, 3], [1000, 7, 31, 2], [5] * 20])
@pytest.mark.parametrize("test", [0.1, 0.2, 0.5, 0.77])
def test_split_keeps_the_shares_of_classes(counts: list[int], test: float, rng: np.random.Generator) -> None:
    """To less than a row, with as many rows held back as without; text, columns, bytes and one-hot rows alike."""
    x, y = imbalanced(rng, counts)
    part = datasets.split(x, y, test=test, seed=3)
    held = np.bincount(part.y_test, minlength=len(counts))
    assert held.sum() == round(test * len(y))
    assert (np.abs(held - held.sum() * np.array(counts) / len(y)) < 1).all()
    np.testing.assert_array_equal(y[part.x_train[:, 0]], part.y_train)
    np.testing.assert_array_equal(y[part.x_test[:, 0]], part.y_test)
    assert sorted(np.concatenate([part.x_train, part.x_test])[:, 0].tolist()) == list(range(len(y)))
    names = np.array([f"class {k}" for k in range(len(counts))])
    one_hot = np.eye(len(counts))[y]
    alike = (y.astype(np.uint8), y[:, None], names[y], names.astype(object)[y], names[y].astype("S"), one_hot)
    for labels in (*alike, one_hot > 0):
        np.testing.assert_array_equal(datasets.split(x, labels, test=test, seed=3).x_test, part.x_test)
    plain = datasets.split(x, y, test=test, seed=3, stratify=False)
    order = np.random.Generator(np.random.PCG64(3)).permutation(len(y))
    np.testing.assert_array_equal(plain.x_test[:, 0], order[: held.sum()])


def test_split_mixes_the_classes_on_both_sides(rng: np.random.Generator) -> None:
    """Whoever takes the first rows only, or does not shuffle, must not get the classes one after the other."""
    x, y = imbalanced(rng, [200] * 10)
    for part in (datasets.split(x, y, test=0.2, seed=seed) for seed in range(5)):
        for labels in (part.y_train, part.y_test):
            for end in (labels[:40], labels[-40:]):  # that three of ten classes are missing is one in 100,000
                assert len(set(end.tolist())) >= 8


def test_split_against_scikit_learn(rng: np.random.Generator) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    x, y = imbalanced(rng, [61, 25, 14])
    expected = selection.train_test_split(y, test_size=0.25, stratify=y, random_state=0)[1]
    np.testing.assert_array_equal(np.bincount(datasets.split(x, y, 0.25).y_test), np.bincount(expected))


def test_split_leaves_numbers_and_many_labels_alone(rng: np.random.Generator) -> None:
    x = np.arange(100)
    order = np.random.Generator(np.random.PCG64(0)).permutation(100)
    for y in (
        rng.standard_normal(100),
        np.arange(100) % 2.0,  # a real number
        np.arange(100) % 21,
        np.arange(100),
        np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[np.arange(100) % 4],  # yes or no, several times
        np.array([[0.5, 0.5], [1, 0]])[np.arange(100) % 2],
        [None, 1] * 50,
    ):
        np.testing.assert_array_equal(datasets.split(x, y).x_test, order[:20])
    halves = np.arange(100) % 2
    for asked, each in (
        (halves * 1.0, 10),
        (np.eye(2)[halves], 10),
        ([None, 1] * 50, 10),
        (np.arange(100) // 5 * 0.5, 1),
    ):
        found = datasets.split(x, asked, stratify=True).x_test
        numbers = {str(row): k for k, row in enumerate(np.asarray(asked).tolist())}
        counts = np.unique([numbers[str(row)] for row in np.asarray(asked)[found].tolist()], return_counts=True)[1]
        assert counts.tolist() == [each] * (20 // each)


def test_split_wrong_stratify() -> None:
    with pytest.raises(TypeError, match="stratify must be None, True or False, not 'y'"):
        datasets.split(np.zeros((5, 1)), np.zeros(5), stratify="y")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="classes of two rows or more, but y has 9 different values in 9 rows"):
        datasets.split(np.zeros((9, 1)), np.arange(9) / 7, stratify=True)


def test_split_returns_copies() -> None:
    x, y = np.zeros((5, 1)), np.zeros(5)
    for array in datasets.split(x, y):
        array += 1
    assert not x.any() and not y.any()


@pytest.mark.parametrize("test", [0, 1, -0.2, 1.5, math.nan, math.inf, "0.2", None, True])
def test_split_bad_fraction(test: Any) -> None:
    number = isinstance(test, (int, float)) and test is not True
    with pytest.raises(ValueError if number else TypeError, match=r"test must be .*, not "):
        datasets.split(np.zeros((5, 1)), np.zeros(5), test=test)


@pytest.mark.parametrize(("n", "test"), [(0, 0.5), (1, 0.5), (4, 0.1), (4, 0.9)])
def test_split_refuses_an_empty_side(n: int, test: float) -> None:
    with pytest.raises(ValueError, match="test must leave rows on both sides"):
        datasets.split(np.zeros((n, 1)), np.zeros(n), test=test)


@pytest.mark.parametrize(("x", "y"), [(np.zeros((3, 2)), np.zeros(4)), (1.0, [1.0]), ([1.0], 1.0)])
def test_split_unequal_rows(x: Any, y: Any) -> None:
    with pytest.raises(ValueError, match="x and y must have equally many rows, got shapes"):
        datasets.split(x, y)


# --- scikit-learn's files -----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
    ],
)
def test_tables_equal_scikit_learn(name: str, shape: tuple[int, int], classes: int) -> None:
    bunch = getattr(pytest.importorskip("sklearn.datasets"), f"load_{name}")()
    part = getattr(datasets, name)(test=0.25, seed=5)
    expected = datasets.split(bunch.data, bunch.target, test=0.25, seed=5)
    np.testing.assert_array_equal(part.y_train, expected.y_train)
    np.testing.assert_array_equal(part.y_test, expected.y_test)
    assert part.y_train.dtype == np.int64 and np.unique(part.y_train).tolist() == list(range(classes))
    assert (len(part.x_train) + len(part.x_test), part.x_train.shape[1]) == shape
    mean, scale = (0, 16) if name == "digits" else (expected.x_train.mean(axis=0), expected.x_train.std(axis=0))
    np.testing.assert_allclose(part.x_train, (expected.x_train - mean) / scale, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(part.x_test, (expected.x_test - mean) / scale, rtol=1e-12, atol=1e-12)


def test_digits_lie_between_zero_and_one() -> None:
    pytest.importorskip("sklearn")
    part = datasets.digits()
    assert part.x_train.min() == 0 and part.x_train.max() == 1


def test_a_column_that_never_changes_is_not_divided_by_zero() -> None:
    pytest.importorskip("sklearn")
    part = datasets.iris(test=0.993)  # one row left to train on
    assert len(part.x_train) == 1 and np.isfinite(part.x_test).all()


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_tables_say_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nnlite\[sklearn\]"'):
        getattr(datasets, name)()


def test_what_only_some_sets_need_is_not_imported() -> None:
    code = (
        "import sys; from nnlite import datasets; datasets.LOADERS['moons'](); "
        "print(sorted({'sklearn', 'pooch', 'requests'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "[]\n", ran.stderr


# --- IDX files ----------------------------------------------------------------


def idx(array: np.ndarray[Any, Any], kind: int = 8) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


IMAGES = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 256
LABELS = np.array([3, 0, 9, 1, 3])
FILES = {
    "train-images-idx3-ubyte": idx(IMAGES),
    "train-labels-idx1-ubyte": idx(LABELS),
    "t10k-images-idx3-ubyte": idx(IMAGES[:2]),
    "t10k-labels-idx1-ubyte": idx(LABELS[:2]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small MNIST in $NNLITE_DATA/mnist."""
    place = tmp_path / "data" / "mnist"
    place.mkdir(parents=True)
    for name, content in FILES.items():
        (place / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("NNLITE_DATA", str(place.parent))
    return place


def check_small_mnist(part: datasets.Split) -> None:
    assert part.x_train.shape == (5, 784) and part.x_test.shape == (2, 784)
    assert part.x_train.dtype == np.float32 and part.y_train.dtype == np.int64
    np.testing.assert_array_equal(part.x_train, (IMAGES.reshape(5, 784) / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(part.y_train, LABELS)
    np.testing.assert_array_equal(part.y_test, LABELS[:2])
    assert part.x_train.max() == 1


def test_mnist_from_a_folder_compressed_or_not(folder: Path) -> None:
    check_small_mnist(datasets.mnist())
    for name, content in FILES.items():
        (folder / f"{name}.gz").unlink()
        (folder / name).write_bytes(content)
    check_small_mnist(datasets.mnist())
    folder.rename(folder.with_name("fashion"))
    check_small_mnist(datasets.fashion_mnist())


def test_a_folder_without_the_file_says_so(folder: Path) -> None:
    missing = folder / "t10k-labels-idx1-ubyte.gz"
    missing.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist()
    assert str(missing) in str(caught.value) and "NNLITE_DATA" in str(caught.value)
    missing.mkdir()
    with pytest.raises(FileNotFoundError, match="is missing"):
        datasets.mnist()


GOOD = FILES["train-images-idx3-ubyte"]
BAD_IMAGES = {  # what is in the file -> (the field to be named, its bytes)
    "empty": ("magic", b""),
    "text": ("magic", b"<html>not found</html>"),
    "wrong magic": ("magic", b"\1" + GOOD[1:]),
    "float type": ("type", idx(IMAGES, kind=13)),
    "labels": ("dimensions", FILES["train-labels-idx1-ubyte"]),
    "cut in the header": ("sizes", GOOD[:14]),
    "no rows": ("sizes", idx(IMAGES[:0])),
    "too large": ("sizes", GOOD[:4] + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)),
    "count larger than the data": ("data", GOOD[:4] + struct.pack(">3I", 6, 28, 28) + GOOD[16:]),
    "one byte short": ("data", GOOD[:-1]),
    "one byte long": ("data", GOOD + b"\0"),
    "not 28 x 28": ("sizes", idx(IMAGES[:, :27])),
    "fewer images than labels": ("sizes", idx(IMAGES[:4])),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_bad_image_file_is_named_with_the_field(folder: Path, fault: str, packed: bool) -> None:
    field, content = BAD_IMAGES[fault]
    path = folder / "train-images-idx3-ubyte.gz"
    path.unlink()
    if packed:
        path.write_bytes(gzip.compress(content))
    else:
        path = path.with_suffix("")
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        datasets.mnist()
    assert str(path) in str(caught.value) and f": {field}: " in str(caught.value)


def test_label_out_of_range(folder: Path) -> None:
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.array([3, 10]))))
    with pytest.raises(ValueError, match=r"t10k-labels.*: data: labels must be 0 to 9, got 10"):
        datasets.mnist()


@pytest.mark.parametrize("fault", ["half", "checksum cut", "bit flipped", "checksum wrong", "not gzip"])
def test_damaged_gzip_stream(folder: Path, fault: str) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    content = {
        "half": whole[: len(whole) // 2],
        "checksum cut": whole[:-3],
        "bit flipped": bytes(flipped),
        "checksum wrong": whole[:-8] + b"\0" * 4 + whole[-4:],
        "not gzip": GOOD,
    }
    path.write_bytes(content[fault])
    with pytest.raises(ValueError) as caught:
        datasets.mnist()
    assert str(path) in str(caught.value)
    assert ": gzip stream: " in str(caught.value) or ": data: " in str(caught.value)


def test_a_gzip_bomb_is_unpacked_no_further_than_announced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(64):
            file.write(bytes(1 << 20))
    asked: list[int] = []
    read = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int = -1) -> bytes:
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(ValueError, match=r": data: the header announces 3920 bytes .*, the file holds more"):
        datasets.mnist()
    assert asked == [16, 3921]


# --- downloads ----------------------------------------------------------------


class Mirror:
    """A server on 127.0.0.1 whose answers a test sets: path -> (status, announced length, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, int, bytes]] = {}
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                status, length, body = mirror.answers.get(self.path, (404, 0, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def offer(self, path: str, body: bytes, cut: int = 0) -> None:
        self.answers[path] = (200, len(body), body[: len(body) - cut])


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Two mirrors of the small MNIST on one server, /first/ and /second/; only the second has the files."""
    pooch = pytest.importorskip("pooch")
    served = Mirror()
    hashes = {}
    for name, content in FILES.items():
        body = gzip.compress(content, mtime=0)
        served.offer(f"/second/{name}.gz", body)
        hashes[f"mnist/{name}.gz"] = hashlib.sha256(body).hexdigest()
    monkeypatch.setattr(datasets, "HASHES", hashes)
    monkeypatch.setattr(datasets, "MIRRORS", {"mnist": [f"{served.url}/first/", f"{served.url}/second/"]})
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("NNLITE_DATA", raising=False)
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_download_goes_on_to_the_next_mirror_and_happens_once(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pooch's logger stands outside logging's tree, with a handler writing to the screen: caplog misses it.
    said: list[str] = []
    logger = pytest.importorskip("pooch").get_logger()
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(logger, "handle", lambda record: said.append(record.getMessage()))
    check_small_mnist(datasets.mnist())
    assert len(mirror.requests) == 8  # every file: 404 at the first mirror, then the second
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in FILES)
    mirror.answers.clear()
    check_small_mnist(datasets.mnist())
    assert len(mirror.requests) == 8
    assert said == []


@pytest.mark.parametrize("fault", ["wrong hash", "cut", "404", "server error", "no network"])
def test_failed_download_leaves_nothing_and_a_retry_works(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = "/second/train-images-idx3-ubyte.gz"
    good = mirror.answers[path][2]
    if fault == "wrong hash":
        mirror.offer(path, gzip.compress(idx(IMAGES + 1)))
    elif fault == "cut":
        mirror.offer(path, good, cut=100)
    elif fault == "404":
        del mirror.answers[path]
    elif fault == "server error":
        mirror.answers[path] = (500, 0, b"")
    with monkeypatch.context() as patch:
        if fault == "no network":
            dead = "http://127.0.0.1:9/"  # the discard port: nobody answers
            patch.setattr(datasets, "MIRRORS", {"mnist": [dead + "first/", dead + "second/"]})
        with pytest.raises(OSError) as caught:
            datasets.mnist()
    message = str(caught.value)
    assert "mnist/train-images-idx3-ubyte.gz could not be downloaded" in message and "NNLITE_DATA" in message
    assert "/first/train-images" in message and "/second/train-images" in message
    assert "Max retries" not in message, "the reason is enough"
    assert cached(tmp_path) == []
    mirror.offer(path, good)
    check_small_mnist(datasets.mnist())


def test_a_spoilt_cache_is_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    datasets.mnist()
    path = tmp_path / "cache" / "nnlite" / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])
    check_small_mnist(datasets.mnist())


def test_download_without_pooch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NNLITE_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nnlite\[examples\]".*NNLITE_DATA'):
        datasets.fashion_mnist()


def test_every_mirror_has_its_hashes() -> None:
    for folder in datasets.MIRRORS:
        for name in FILES:
            assert len(bytes.fromhex(datasets.HASHES[f"{folder}/{name}.gz"])) == 32


@pytest.mark.skipif("NNLITE_DATA" not in os.environ, reason="set NNLITE_DATA to a folder that holds mnist/")
def test_the_real_mnist() -> None:
    part = datasets.mnist()
    assert part.x_train.shape == (60000, 784) and part.x_test.shape == (10000, 784)
    assert part.x_train.dtype == np.float32 and (part.x_train.min(), part.x_train.max()) == (0, 1)
    assert np.bincount(part.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert part.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert part.x_train.mean() == pytest.approx(0.1307, abs=1e-4)  # the figure that every MNIST tutorial quotes


# --- by name ------------------------------------------------------------------


def test_loaders_are_sorted_and_complete() -> None:
    names = list(datasets.LOADERS)
    assert names == sorted(names)
    gates = {"and", "nand", "nor", "or", "xnor", "xor"}
    toys = {"blobs", "circles", "moons", "sine", "spirals"}
    files = {"breast_cancer", "digits", "fashion_mnist", "iris", "mnist", "wine"}
    assert set(names) == gates | toys | files


@pytest.mark.parametrize("name", ["xor", "nand"])
def test_gate_loaders_test_on_what_they_train_on(name: str) -> None:
    part = datasets.LOADERS[name]()
    np.testing.assert_array_equal(part.x_train, part.x_test)
    np.testing.assert_array_equal(part.y_train, datasets.logic_gate(name)[1])


@pytest.mark.parametrize("name", ["blobs", "circles", "moons", "sine", "spirals"])
def test_toy_loaders_split(name: str) -> None:
    part = datasets.LOADERS[name](test=0.5, seed=2, n=30)
    assert isinstance(part, datasets.Split) and len(part.x_train) == len(part.x_test) == 15
    x, y = getattr(datasets, name)(n=30, seed=2)
    np.testing.assert_array_equal(part.x_train, datasets.split(x, y, test=0.5, seed=2).x_train)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_columns_as_they_were_measured(name: str) -> None:
    pytest.importorskip("sklearn")
    raw, scaled = (getattr(datasets, name)(standardise=flag) for flag in (False, True))
    mean, deviation = raw.x_train.mean(axis=0), raw.x_train.std(axis=0)
    np.testing.assert_allclose((raw.x_test - mean) / deviation, scaled.x_test, rtol=1e-12)
    np.testing.assert_array_equal(raw.y_train, scaled.y_train)


def test_a_split_shows_its_shapes():
    parts = datasets.split(np.zeros((10, 3)), np.zeros(10), test=0.2)
    assert repr(parts) == "Split(x_train (8, 3), y_train (8,), x_test (2, 3), y_test (2,))"
