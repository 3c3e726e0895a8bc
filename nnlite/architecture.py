"""The architecture of a network: how a file describes its layers, and whether layers fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import files, gate, registry
from .activations import ACTIVATIONS
from .arguments import arguments
from .attaching import Attached, family
from .blocks import Chain, Residual, through_all, widths
from .layers import Dense, Layer
from .noise import Dropout, GaussianNoise
from .normalization import BatchNorm, LayerNorm

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (Dense, BatchNorm, LayerNorm, Dropout, GaussianNoise, Chain, Residual, *ACTIVATIONS.values())
}


def description(network: Any) -> dict[str, Any]:
    """What a file says of a network beside its arrays; TypeError for layers that are not registered."""
    named = {"columns": list(network.columns)} if network.columns else {}
    frozen = [path for path, layer in families(network.layers) if not layer.trainable]
    named |= {"frozen": frozen} if frozen else {}
    return {"layers": described(network.layers), "dtype": str(network.dtype), **named}


def described(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Each layer as a dict that JSON can hold, with the layers in it; TypeError for layers that are not registered."""
    return [_described(layer) for layer in layers]


def _described(layer: Layer) -> dict[str, Any]:
    kind = type(layer)
    name = kind.__name__ if LAYERS.get(kind.__name__) is kind else registry.name_of(kind)
    if name is None and kind.__name__ in registry.REGISTERED:
        raise TypeError(
            f"another class named {kind.__name__} is registered than that of this network, such as the one from "
            "before a cell of a notebook was run again: make the network anew"
        )
    if name is None:
        raise TypeError(
            f"{kind.__name__} is a layer of your own, which a file can name only if it is registered: write "
            "@nl.register before the class, or keep net.state_dict() instead"
        )
    if name in LAYERS and LAYERS[name] is not kind:
        raise ValueError(f"{name} is also a layer of nnlite's own: register yours by another name, name=…")
    own = kind.config is Layer.config  # it does not say what its arguments are
    config = arguments(layer) if own else layer.config()
    return {"layer": name, **{key: _plain(value, f"{key} of {name}") for key, value in config.items()}}


def _plain(value: Any, name: str) -> Any:
    """An argument of a layer as JSON can hold it. Layers among the arguments are described."""
    if isinstance(value, Layer):
        return _described(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each, name) for each in value]
    try:
        return files.plain(value, name)
    except TypeError as error:
        raise TypeError(
            f"{name} is a {type(value).__name__}, which a file cannot hold: let config() leave it out"
        ) from error


def families(layers: Sequence[Layer]) -> Iterator[tuple[str, Attached]]:
    """All layers, those inside of others too, with their paths: "0", "1", "1.0"."""
    for i, layer in enumerate(layers):
        yield from family(layer, str(i))


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
        layers = [made(entry) for entry in file.config["layers"]]
        for _, layer in families(layers):
            if not layer.shapes:
                layer.initial(rng)  # draws other numbers than parameters, such as the key of a Dropout
        for path in file.config.get("frozen", ()):
            vars(gate.choose(dict(families(layers)), path, "frozen"))["trainable"] = False
        check_layers(layers)
        return layers, gate.float_type(file.config["dtype"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = str(error)
        why = why if len(why) < 800 else f"{why[:100]} … {why[-300:]}"  # it may quote a megabyte of the file
        what = "the description of the network is damaged"
        raise files.CorruptFileError(f"{file.path}: {what}: {why}") from error


def made(entry: Mapping[str, Any]) -> Layer:
    """The layer that an entry of a file describes; ValueError or TypeError for arguments that it does not have."""
    name, given = entry["layer"], {key: _made(value) for key, value in entry.items() if key != "layer"}
    kind = LAYERS.get(name) or registry.REGISTERED.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        try:
            kind = gate.choose(LAYERS, name, "layer")
        except ValueError as error:
            raise ValueError(f"{error}; a layer of your own must be registered first, by nl.register") from error
    if kind.config is Layer.config:
        layer = kind(**given)
        known = arguments(layer)
    else:
        layer = kind(*given.pop("layers", ()), **given)
        known = layer.config()
    if not given.keys() <= known.keys():
        raise ValueError(f"{name} has no such arguments: {', '.join(given)}")
    return layer


def _made(value: Any) -> Any:
    """An argument of a layer from what a file says."""
    if isinstance(value, dict) and "layer" in value:
        return made(value)
    return [_made(each) for each in value] if isinstance(value, list) else value


def check_layers(layers: Sequence[Any]) -> None:
    """Check that each is a layer, is used only once, and fits the width of the one before; ValueError or TypeError."""
    if not layers:
        raise ValueError("a network needs at least one layer, such as nl.Dense(2, 1)")
    met: set[int] = set()
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {i} is {layer!r}, expected a layer such as nl.Dense(2, 1) or nl.ReLU()")
        for path, each in family(layer, str(i)):
            each.refuse_without_constructor()
            if each.taken or id(each) in met:
                told = "make a new one for each place, or copy.deepcopy(layer), which keeps the parameters"
                raise ValueError(f"layer {path}, {each!r}, is already in use; {told}")
            met.add(id(each))
    through_all(layers, None)
