"""Names and forms that other libraries give to the same parameters: PyTorch's and Keras's state.

A Dense keeps W (inputs, outputs), as Keras does; PyTorch keeps its transpose.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import gate
from .attaching import Attached
from .files import CorruptFileError

# For each kind of layer, the other library's name of each of our arrays, in the order in which that library lists them.
TORCH = {
    "Dense": {"W": "weight", "b": "bias"},
    "BatchNorm": {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"},
    "LayerNorm": {"gamma": "weight", "beta": "bias"},
    "PReLU": {"slope": "weight"},
}
KERAS = {
    "Dense": {"W": "kernel", "b": "bias"},
    "BatchNorm": {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"},
    "LayerNorm": {"gamma": "gamma", "beta": "beta"},
}
KERAS_LAYERS = {"Dense": "dense", "BatchNorm": "batch_normalization", "LayerNorm": "layer_normalization"}
LAYOUTS = {"nnlite": {}, "torch": TORCH, "keras": KERAS}
COUNTER = "num_batches_tracked"  # PyTorch's BatchNorm has it beside its running means; nothing here needs it

Layers = Iterable[tuple[str, Attached]]  # with their paths


def renamed(state: Mapping[str, np.ndarray], layers: Layers, layout: str) -> dict[str, np.ndarray]:
    """The state of these layers as the other library names and shapes it, in the order in which it lists it.

    TypeError for a parameter that it does not have.
    """
    found: dict[str, np.ndarray] = {}
    for ours, theirs, turned in _pairs(state, layers, layout):
        found[theirs] = np.ascontiguousarray(state[ours].T) if turned else state[ours]
        if theirs.endswith("running_var"):
            found[theirs.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    return found


def ours(given: Any, state: Mapping[str, np.ndarray], layers: Layers, layout: str) -> dict[str, np.ndarray]:
    """The other library's arrays under our names and in our form; those that it does not have are left out.

    Keras numbers its layers through a whole program, so its arrays are taken in their order: a dict of them, or what
    `model.get_weights()` returns. ValueError if there are too many or too few of them.
    """
    pairs = list(_pairs(state, layers, layout))
    if layout == "keras":
        values = list(given.values() if isinstance(given, Mapping) else given)
        if len(values) != len(pairs):
            raise ValueError(f"state has {len(values)} arrays, but this network has {len(pairs)} in Keras")
        return {name: np.asarray(value) for (name, _, _), value in zip(pairs, values)}
    known = {theirs: (name, turned) for name, theirs, turned in pairs}
    left = {name: np.asarray(value) for name, value in given.items() if not str(name).endswith(COUNTER)}
    missing, unknown = sorted(known.keys() - left.keys()), sorted(map(str, left.keys() - known.keys()))
    if missing or unknown:
        told = f"state has not this network's names in {layout}: missing {missing}, unknown {unknown}"
        if len(missing) == len(unknown):
            told += f"; if only the names differ, take dict(zip(net.state_dict({layout!r}), state.values()))"
        raise ValueError(told)
    return {name: left[theirs].T if turned else left[theirs] for theirs, (name, turned) in known.items()}


def _pairs(state: Mapping[str, Any], layers: Layers, layout: str) -> Iterable[tuple[str, str, bool]]:
    """(our name, their name, whether it is transposed) of each array that the other library has."""
    kinds: dict[str, Any] = gate.choose(LAYOUTS, layout, "layout")
    numbers: dict[str, int] = {}
    for path, layer in layers:
        kind, names = type(layer).__name__, [*layer.shapes, *(name for name in layer.state if name != "draws")]
        if not names:
            continue
        if kind not in kinds or names != [name for name in kinds[kind] if name in names]:
            raise TypeError(f"layer {path}, {layer!r}, has no such layer in {layout} that keeps the same arrays")
        prefix = f"{path}."
        if layout == "keras":
            count = numbers[kind] = numbers.get(kind, -1) + 1
            prefix = f"{KERAS_LAYERS[kind]}{f'_{count}' if count else ''}/"
        for name in names:
            yield (
                f"{path}.{name}",
                f"{prefix}{kinds[kind][name]}",
                layout == "torch" and kind == "Dense" and name == "W",
            )


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file, whoever wrote it; CorruptFileError for any other file."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        how = 'net.load_state_dict(torch.load(path), layout="torch"), or model.get_weights() with layout="keras"'
        raise CorruptFileError(f"{path} is a zip archive, as PyTorch and Keras write them: {how}")
    try:
        library = importlib.import_module("safetensors.numpy")
    except ImportError as error:
        text = 'a file of another program is read by safetensors: pip install "nnlite[safetensors]"'
        raise ImportError(text) from error
    try:
        arrays: dict[str, np.ndarray] = library.load_file(os.fspath(path))
    except importlib.import_module("safetensors").SafetensorError as error:
        raise CorruptFileError(f"{path} is not a safetensors file: {error}") from error
    return arrays


def difference(missing: Iterable[str], unknown: Iterable[str]) -> str:
    """What names are missing and unknown, and a hint if they look like another library's."""
    text = f"missing {missing}, unknown {unknown}"
    torch = any(name.rpartition(".")[2] in ("weight", "bias", "running_mean") for name in unknown)
    keras = any(name.rpartition("/")[2] in ("kernel", "bias", "kernel:0") for name in unknown)
    which = "PyTorch" if torch else "Keras" if keras else ""
    return text + (f'; for {which}\'s names add layout="{"torch" if torch else "keras"}"' if which else "")
