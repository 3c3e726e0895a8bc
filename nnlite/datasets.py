"""Data sets: toy sets made from a seed, tables from scikit-learn's files, and MNIST, checked by its hash.

Letters in the shapes: N rows, D features, K classes. A row of x is one sample; class labels are integers
0 .. K-1 in an array (N,). Nothing is downloaded, or read from disk, before a function asks for it.
"""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import elsewhere, gate

Array = NDArray[Any]


class Split(NamedTuple):
    """Rows to train on and rows held back: x (N, D), y (N,) labels or (N, outputs) numbers."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    def __repr__(self) -> str:
        return f"Split({', '.join(f'{name} {np.shape(array)}' for name, array in self._asdict().items())})"


MOST_CLASSES = 20  # a target with more different values is taken for quantities, and a split does not stratify it


def _fraction(value: Any, name: str) -> float:
    return gate.number(value, name, above=0, below=1)


def _generator(seed: Any) -> np.random.Generator:
    # PCG64 is named, because default_rng may use another bit generator in a later NumPy.
    return np.random.Generator(np.random.PCG64(gate.integer(seed, "seed", least=0)))


# --- a hold-out split ---------------------------------------------------------


@elsewhere.answered(elsewhere.SPLIT)
def split(x: Any, y: Any, test: float = 0.2, seed: int = 0, stratify: bool | None = None) -> Split:
    """Shuffle the rows of x (N, ...) and y (N, ...) together and hold back the fraction `test` of them.

    If y holds classes, the same share of every class is held back, up to rounding by less than one row. Classes are
    whole numbers, bools or text with few different values, (N,) or (N, 1), or one-hot rows (N, K). stratify=True does
    this for any y with few different rows; stratify=False never does it.

    >>> parts = split([[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1], test=0.5)
    >>> parts.x_train.shape, sorted(parts.y_test.tolist())
    ((2, 1), [0, 1])
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        raise ValueError(f"x and y must have equally many rows, got shapes {x.shape} and {y.shape}")
    if stratify is not None and not isinstance(stratify, (bool, np.bool_)):
        raise TypeError(f"stratify must be None, True or False, not {stratify!r}")
    held = round(_fraction(test, "test") * len(x))
    if not 0 < held < len(x):
        raise ValueError(f"test must leave rows on both sides, got {test!r}, which holds {held} of {len(x)} back")
    rng = _generator(seed)
    order = rng.permutation(len(x))
    groups = None if stratify is False else _groups(y, bool(stratify))
    if groups is None:
        test_rows, train_rows = order[:held], order[held:]
    else:  # the first rows of every class are held back, so that both sides have to be shuffled once more
        back = _shares(groups[order], held)
        test_rows, train_rows = rng.permutation(order[back]), rng.permutation(order[~back])
    return Split(x[train_rows], y[train_rows], x[test_rows], y[test_rows])


def _groups(y: Array, asked: bool) -> Array | None:
    """The class number of each row (N,), or None if y (N, ...) is not taken for classes."""
    rows = y.reshape(len(y), -1)
    text = rows.dtype.kind in "UST" or (rows.dtype.kind == "O" and all(isinstance(cell, str) for cell in rows.flat))
    labels = rows.shape[1] == 1 and (text or rows.dtype.kind in "iub")
    if not (asked or labels or _are_one_hot(rows)):
        return None
    number: dict[Any, int] = {}
    groups = np.array([number.setdefault(row, len(number)) for row in map(tuple, rows.tolist())])
    if len(number) <= max(2, min(MOST_CLASSES, len(y) // 2)):
        return groups
    if asked and len(number) > len(y) // 2:
        raise ValueError(
            f"stratify=True needs classes of two rows or more, but y has {len(number):,} different values in "
            f"{len(y):,} rows; leave it out for numbers"
        )
    return groups if asked else None


def _are_one_hot(rows: Array) -> bool:
    """Whether every row of numbers (N, K) is 0 but for a single 1, with several K."""
    if rows.shape[1] == 1 or rows.dtype.kind not in "fiub":
        return False
    return bool((((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)).all())


def _shares(groups: Array, held: int) -> Array:
    """Which rows (N,) are held back: from each class its first rows, as many as its share of `held`.

    Shares are rounded down. The missing rows come from the classes that lost most by rounding (Hamilton's method).
    """
    _, first, counts = np.unique(groups, return_index=True, return_counts=True)
    share, lost = np.divmod(held * counts, len(groups))
    share[np.lexsort((first, -lost))[: held - share.sum()]] += 1  # of equal losses, the class that appears first
    place = np.empty(len(groups), np.int64)  # the place of each row in its class
    place[np.argsort(groups, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
    return place < share[groups]


# --- toy sets -----------------------------------------------------------------

_GATES = {
    "and": (0, 0, 0, 1),
    "nand": (1, 1, 1, 0),
    "nor": (1, 0, 0, 0),
    "or": (0, 1, 1, 1),
    "xnor": (1, 0, 0, 1),
    "xor": (0, 1, 1, 0),
}


def logic_gate(name: str) -> tuple[Array, Array]:
    """The truth table of "and", "nand", "nor", "or", "xnor" or "xor": x (4, 2), y (4, 1), all 0.0 or 1.0.

    >>> x, y = logic_gate("xor")
    >>> [(*row, *out) for row, out in zip(x.tolist(), y.tolist())]
    [(0.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)]
    """
    truth = gate.choose(_GATES, name, "name")
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)  # (4, 2)
    return x, np.array(truth, dtype=np.float64)[:, None]  # (4, 1)


def _circle(angle: Array) -> Array:
    return np.column_stack([np.cos(angle), np.sin(angle)])  # (N,) -> (N, 2)


def _labels(rng: np.random.Generator, n: int, classes: int) -> Array:
    # The classes take turns and are then shuffled: exactly n rows, and class sizes that differ by one at most.
    return rng.permutation(np.arange(n, dtype=np.int64) % classes)  # (N,)


def moons(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """Two interleaved half circles: x (N, 2), labels y (N,).

    Class 0 lies at (cos t, sin t), class 1 at (1 - cos t, 1/2 - sin t), t uniform in [0, pi];
    `noise` is the standard deviation of the normal error added to both coordinates.
    """
    n, noise, rng = gate.integer(n, "n", least=2), gate.number(noise, "noise", least=0), _generator(seed)
    t = rng.uniform(0, np.pi, n)  # (N,)
    y = _labels(rng, n, 2)  # (N,)
    upper = _circle(t)  # (N, 2)
    x = np.where(y[:, None] == 0, upper, [1.0, 0.5] - upper)  # (N, 2)
    return x + noise * rng.standard_normal((n, 2)), y


def circles(n: int = 200, noise: float = 0.1, factor: float = 0.5, seed: int = 0) -> tuple[Array, Array]:
    """A circle of radius 1 (class 0) around one of radius `factor` (class 1): x (N, 2), labels y (N,).

    `noise` is the standard deviation of the normal error added to both coordinates.
    """
    n, noise, factor = gate.integer(n, "n", least=2), gate.number(noise, "noise", least=0), _fraction(factor, "factor")
    rng = _generator(seed)
    t = rng.uniform(0, 2 * np.pi, n)  # (N,)
    y = _labels(rng, n, 2)  # (N,)
    radius = np.where(y == 0, 1.0, factor)  # (N,)
    x = radius[:, None] * _circle(t)  # (N, 2)
    return x + noise * rng.standard_normal((n, 2)), y


def spirals(
    n: int = 300, classes: int = 3, noise: float = 0.03, turns: float = 0.75, seed: int = 0
) -> tuple[Array, Array]:
    """`classes` arms that wind out of the origin: x (N, 2), labels y (N,).

    Class k at radius r, uniform in [0, 1], has the angle 2 pi (k / classes + turns r);
    `noise` is the standard deviation of the normal error added to both coordinates.
    """
    classes = gate.integer(classes, "classes", least=2)
    n, noise, turns = (
        gate.integer(n, "n", least=classes),
        gate.number(noise, "noise", least=0),
        gate.number(turns, "turns", least=0),
    )
    rng = _generator(seed)
    r = rng.uniform(0, 1, n)  # (N,)
    y = _labels(rng, n, classes)  # (N,)
    x = r[:, None] * _circle(2 * np.pi * (y / classes + turns * r))  # (N, 2)
    return x + noise * rng.standard_normal((n, 2)), y


def blobs(n: int = 300, classes: int = 3, spread: float = 0.3, seed: int = 0) -> tuple[Array, Array]:
    """Round clouds whose centres stand evenly on the unit circle: x (N, 2), labels y (N,).

    Class k is normal around the angle 2 pi k / classes, with the standard deviation `spread`.
    """
    classes = gate.integer(classes, "classes", least=2)
    n, spread, rng = gate.integer(n, "n", least=classes), gate.number(spread, "spread", least=0), _generator(seed)
    error = spread * rng.standard_normal((n, 2))  # (N, 2)
    y = _labels(rng, n, classes)  # (N,)
    return _circle(2 * np.pi * y / classes) + error, y


def sine(n: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """y = sin x + normal error of standard deviation `noise`, x uniform in [-pi, pi]: both (N, 1)."""
    n, noise, rng = gate.integer(n, "n", least=1), gate.number(noise, "noise", least=0), _generator(seed)
    x = rng.uniform(-np.pi, np.pi, (n, 1))  # (N, 1)
    return x, np.sin(x) + noise * rng.standard_normal((n, 1))


# --- tables in scikit-learn's files -------------------------------------------


def _table(file: str, header: int) -> tuple[Array, Array]:
    spec = importlib.util.find_spec("sklearn")  # finds the folder without an import, which takes a second
    if spec is None or spec.origin is None:
        text = f'{file} comes with scikit-learn: pip install "nnlite[sklearn]"'
        raise ModuleNotFoundError(text, name="sklearn")
    path = Path(spec.origin).parent / "datasets" / "data" / file
    rows = np.loadtxt(path, delimiter=",", skiprows=header)  # (N, D + 1), the label last; opens .gz by itself
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def _columns(file: str, test: float, seed: int, standardise: bool) -> Split:
    part = split(*_table(file, header=1), test=test, seed=seed)
    if not standardise:
        return part
    # Only the training rows: a mean over all rows would leak the held-back ones into training.
    mean, deviation = part.x_train.mean(axis=0), part.x_train.std(axis=0)  # (D,), (D,)
    deviation[deviation == 0] = 1.0
    return part._replace(x_train=(part.x_train - mean) / deviation, x_test=(part.x_test - mean) / deviation)


def digits(test: float = 0.2, seed: int = 0) -> Split:
    """1,797 handwritten digits of 8 x 8 grey values: x (N, 64) in [0, 1], labels (N,) 0 .. 9."""
    x, y = _table("digits.csv.gz", header=0)
    return split(x / 16, y, test=test, seed=seed)


def iris(test: float = 0.2, seed: int = 0, standardise: bool = True) -> Split:
    """150 irises of 3 species: x (N, 4), standardised by the training rows; labels (N,)."""
    return _columns("iris.csv", test, seed, standardise)


def wine(test: float = 0.2, seed: int = 0, standardise: bool = True) -> Split:
    """178 wines of 3 growers: x (N, 13), standardised by the training rows; labels (N,)."""
    return _columns("wine_data.csv", test, seed, standardise)


def breast_cancer(test: float = 0.2, seed: int = 0, standardise: bool = True) -> Split:
    """569 tumours: x (N, 30), standardised by the training rows; labels (N,) 0 malignant, 1 benign."""
    return _columns("breast_cancer.csv", test, seed, standardise)


# --- MNIST and Fashion-MNIST --------------------------------------------------

MIRRORS = {
    "mnist": [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    "fashion": ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],  # no TLS: the hash protects
}
HASHES = {  # SHA-256 of the .gz files
    "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "fashion/train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "fashion/train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "fashion/t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "fashion/t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_MOST_BYTES = 1 << 26  # 64 MiB; the largest of these files holds 45


def read_idx(path: str | Path, dimensions: int) -> Array:
    """The uint8 array in an IDX file, plain or (name ending in .gz) compressed.

    Layout: bytes 0, 0, type (8 = uint8), number of dimensions; each size as big-endian uint32; the data.
    ValueError, which names the file and the field, if the file does not have exactly this layout.
    Source: http://yann.lecun.com/exdb/mnist/ (The IDX file format).
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _parse_idx(path, file, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: gzip stream: {error}; get the file again") from error


def _parse_idx(path: Path, file: BufferedIOBase, dimensions: int) -> Array:
    header = file.read(4 + 4 * dimensions)
    for field, got, right in [
        ("magic", header[:2], b"\0\0"),
        ("type", header[2:3], b"\x08"),
        ("dimensions", header[3:4], bytes([dimensions])),
    ]:
        if got != right:
            raise ValueError(f"{path}: {field}: must be the bytes {right!r}, got {got!r}")
    if len(header) < 4 + 4 * dimensions:
        raise ValueError(f"{path}: sizes: the file ends in its header, after {len(header)} bytes")
    shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())  # Python ints: the product cannot overflow
    size = math.prod(shape)
    if not 0 < size <= _MOST_BYTES:
        raise ValueError(f"{path}: sizes: {shape} is {size} bytes, must be 1 to {_MOST_BYTES}")
    # Reading one byte more than announced detects an overlong file and makes gzip check its checksum. A file
    # that would unpack to gigabytes is not unpacked any further.
    data = file.read(size + 1)
    if len(data) != size:
        more = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"{path}: data: the header announces {size} bytes {shape}, the file holds {more}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _download(folder: str, file: str) -> Path:
    remedy = f"put the file into a folder {folder}/ and set the variable NNLITE_DATA to that folder's parent"
    known_hash = "sha256:" + HASHES[f"{folder}/{file}"]
    try:
        pooch = importlib.import_module("pooch")
    except ModuleNotFoundError as error:
        text = f'downloading {folder}/{file} needs pooch: pip install "nnlite[examples]", or {remedy}'
        raise ModuleNotFoundError(text, name="pooch") from error
    pooch.get_logger().setLevel("WARNING")  # it would announce every download on the screen
    failures = []
    for mirror in MIRRORS[folder]:
        try:  # pooch moves a file into the cache only when its hash is right
            return Path(pooch.retrieve(mirror + file, known_hash, file, pooch.os_cache("nnlite") / folder))
        except (OSError, ValueError) as error:  # no network, 404, cut, disk full; a wrong hash
            failures.append(f"{mirror}{file}: {_reason(error)}")
    tried = "; ".join(failures)
    raise OSError(f"{folder}/{file} could not be downloaded: try again, or {remedy}. Tried {tried}")


def _reason(error: Exception) -> str:
    """Why a download failed, without the address once more, which urllib3 repeats."""
    return str(getattr(next(iter(error.args), None), "reason", error))


def _locate(folder: str, file: str) -> Path:
    root = os.environ.get("NNLITE_DATA")
    if not root:
        return _download(folder, file)
    packed = Path(root, folder, file)
    for path in (packed, packed.with_suffix("")):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{packed} is missing: put it there, with or without .gz, or unset NNLITE_DATA")


def _images_and_labels(folder: str, part: str) -> tuple[Array, Array]:
    image_path = _locate(folder, f"{part}-images-idx3-ubyte.gz")
    label_path = _locate(folder, f"{part}-labels-idx1-ubyte.gz")
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)  # (N, 28, 28), (N,)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{image_path}: sizes: images must be 28 x 28, got {images.shape[1:]}")
    if len(images) != len(labels):
        raise ValueError(f"{label_path}: sizes: {len(labels)} labels, {len(images)} images in {image_path}")
    if labels.max() > 9:
        raise ValueError(f"{label_path}: data: labels must be 0 to 9, got {labels.max()}")
    # Without dtype= the quotient is float64: twice the memory, for no gain.
    x = np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)  # (N, 784)
    return x, labels.astype(np.int64)


def mnist() -> Split:
    """Handwritten digits: x (60000, 784) and (10000, 784) float32 in [0, 1], labels (N,) 0 .. 9.

    They are read from $NNLITE_DATA/mnist/ if that variable is set, else downloaded once into the user's cache.
    Raises FileNotFoundError, OSError (no download) or ValueError (damaged file), each with the remedy.
    """
    return Split(*_images_and_labels("mnist", "train"), *_images_and_labels("mnist", "t10k"))


def fashion_mnist() -> Split:
    """Ten kinds of clothing, with the shapes of `mnist` and read in the same way; the folder is called fashion."""
    return Split(*_images_and_labels("fashion", "train"), *_images_and_labels("fashion", "t10k"))


# --- by name, for the command line --------------------------------------------


def _gate_loader(name: str) -> Callable[..., Split]:
    # No row of a truth table can be held back: the net is tested on the rows it was trained on.
    return lambda: Split(*logic_gate(name), *logic_gate(name))


def _toy_loader(make: Callable[..., tuple[Array, Array]]) -> Callable[..., Split]:
    return lambda test=0.2, seed=0, **options: split(*make(seed=seed, **options), test=test, seed=seed)


_FORMULAS = (blobs, circles, moons, sine, spirals)
_FILES = (breast_cancer, digits, fashion_mnist, iris, mnist, wine)
_UNSORTED: dict[str, Callable[..., Split]] = {
    **{name: _gate_loader(name) for name in _GATES},
    **{make.__name__: _toy_loader(make) for make in _FORMULAS},
    **{load.__name__: load for load in _FILES},
}
# Each can be called without arguments; all but the gates and the two MNISTs also take test= and seed=.
LOADERS = dict(sorted(_UNSORTED.items()))
