"""The architecture of a network: how a file describes its layers, and whether layers fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import files, gate
from .activations import ACTIVATIONS
from .layers import Dense, Dropout, Layer

LAYERS: dict[str, type[Layer]] = {"Dense": Dense, "Dropout": Dropout} | {
    kind.__name__: kind for kind in ACTIVATIONS.values()
}


def described(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Each layer as a dict that JSON can hold; TypeError for layers that are not nnlite's."""
    strange = [type(layer).__name__ for layer in layers if LAYERS.get(type(layer).__name__) is not type(layer)]
    if strange:
        raise TypeError(f"{', '.join(strange)}: only nnlite's own layers can be saved; keep net.state_dict() instead")
    return [{"layer": type(layer).__name__, **layer.config()} for layer in layers]


def columns_in(file: files.File, layers: Sequence[Layer]) -> tuple[str, ...] | None:
    names, (inputs, _) = file.config.get("columns"), widths(layers)
    if names is None:
        return None
    fits = isinstance(names, list) and len(names) == inputs and all(isinstance(name, str) for name in names)
    if not fits or len(set(names)) != len(names):
        raise files.CorruptFileError(f"{file.path}: its columns must be {inputs} different names, not {names!r:.80}")
    return tuple(names)


def from_config(file: files.File) -> tuple[list[Layer], np.dtype]:
    """The layers, not yet in a network, and the dtype that the file describes; CorruptFileError if it is damaged."""
    rng = np.random.Generator(np.random.PCG64(0))
    try:
        layers: list[Layer] = []
        for entry in file.config["layers"]:
            arguments = {key: value for key, value in entry.items() if key != "layer"}
            layer = gate.choose(LAYERS, entry["layer"], "layer")(**arguments)
            if not arguments.keys() <= layer.config().keys():
                raise ValueError(f"{entry['layer']} has no such arguments: {', '.join(arguments)}")
            if not layer.shapes:
                layer.initial(rng)  # draws other numbers than parameters, such as the key of a Dropout
            layers.append(layer)
        check_layers(layers)
        return layers, gate.float_type(file.config["dtype"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = str(error)
        why = why if len(why) < 500 else f"{why[:100]} … {why[-300:]}"  # it may quote a megabyte of the file
        what = "the description of the network is damaged"
        raise files.CorruptFileError(f"{file.path}: {what}: {why}") from error


def widths(layers: Sequence[Layer]) -> tuple[int | None, int | None]:
    """The number of columns of x and of y; None for a number that the layers do not know before they see data."""
    start = next((i for i, layer in enumerate(layers) if getattr(layer, "inputs", None)), None)
    if start is None:
        return None, None
    inputs = outputs = getattr(layers[start], "inputs")  # noqa: B009
    for layer in layers[start:]:
        outputs = layer.outputs_for(outputs)
    keep = all(type(layer).outputs_for is Layer.outputs_for for layer in layers[:start])  # these change no width
    return inputs if keep else None, outputs


def check_layers(layers: Sequence[Any]) -> None:
    """Check that each is a layer, is used only once, and fits the width of the one before; ValueError or TypeError."""
    if not layers:
        raise ValueError("a network needs at least one layer, such as nl.Dense(2, 1)")
    width: int | None = None
    met: set[int] = set()
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {i} is {layer!r}, expected a layer such as nl.Dense(2, 1) or nl.ReLU()")
        layer.refuse_without_constructor()
        if layer.taken or id(layer) in met:
            raise ValueError(f"layer {i}, {layer!r}, is already in use; make a new one for each place")
        met.add(id(layer))
        if width is None:
            width = getattr(layer, "inputs", None)
        if width is not None:
            width = layer.outputs_for(width)
