"""A network from a file: one that `net.save` or `trainer.save` wrote, or the arrays that another program wrote."""

from __future__ import annotations

import os

from . import elsewhere, files, layouts
from .architecture import columns_in, families, from_config
from .devices import get_device
from .network import Sequential


@elsewhere.answered(elsewhere.LOAD)
def load(path: str | os.PathLike[str], device: str = "cpu", like: Sequential | None = None) -> Sequential:
    """The network that `net.save(path)` or `trainer.save(path)` wrote; CorruptFileError if the file is not one.

    A safetensors file that another program wrote has no layers, only arrays: with `like=net`, the network is a copy of
    that one with the arrays of the file, in PyTorch's names or ours. It needs `pip install "nnlite[safetensors]"`.
    """
    if like is not None:
        net = like.copy().to(device)
        state = layouts.read(path)
        net.load_state_dict(state, "nnlite" if any(name.endswith(".W") for name in state) else "torch")
        return net
    backend = get_device(device)  # before the file is read, so that an error of the device comes first
    with files.read(path) as file:
        layers, dtype = from_config(file)
        named = dict(families(layers))
        shapes = {f"{path}.{name}": shape for path, layer in named.items() for name, shape in layer.shapes.items()}
        kept = {f"{path}.{name}": (layer, name) for path, layer in named.items() for name in layer.state}
        state = {name: layer.state_value(own, dtype) for name, (layer, own) in kept.items()}
        flat, notes = file.numbers(shapes, dtype, state), file.config.get("notes", {})
        for name, (layer, own) in kept.items():
            vars(layer)[own] = state[name]
        columns = columns_in(file, layers)
    net = Sequential.__new__(Sequential)  # without __init__, which would draw weights for nothing
    found = {"layers": layers, "seed": 0, "notes": notes, "threads": None, "columns": columns}
    net.__setstate__(found | {"flat": flat, "device": backend})
    return net
