"""What of a network goes elsewhere: its arrays by name, into a file or another library, and what other programs run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import elsewhere, files, gate, layouts
from .architecture import description, families
from .devices import Device
from .exporting import export


class Storable:
    """The part of a network that stores it."""

    layers: Any
    parameters: Any  # (P,)
    backend: Device
    dtype: np.dtype

    if TYPE_CHECKING:

        def segments(self) -> Iterator[tuple[str, int, int, tuple[int, ...]]]: ...
        def state_arrays(self) -> dict[str, Any]: ...

    def state_dict(self, layout: str = "nnlite") -> dict[str, np.ndarray]:
        """Copies of all parameters and of the layers' state in main memory: {"0.W": array (inputs, outputs), …}.

        layout "torch" names and transposes them as PyTorch's nn.Sequential of the same layers; "keras" as Keras, in
        the order of `model.set_weights`. TypeError for a layer that the other library does not have.
        """
        flat = np.array(self.backend.to_numpy(self.parameters))
        parameters = {name: flat[start : start + size].reshape(shape) for name, start, size, shape in self.segments()}
        kept = {name: np.array(self.backend.to_numpy(array)) for name, array in self.state_arrays().items()}
        state = parameters | kept
        return state if layout == "nnlite" else layouts.renamed(state, families(self.layers), layout)

    @elsewhere.answered(elsewhere.STATE)
    def load_state_dict(self, state: Any, layout: str = "nnlite") -> None:
        """Copy parameters and state from arrays, by name. State that is not given, such as a Dropout's counter, stays.

        `layout` says whose names they are, as in `state_dict`; Keras's may also be the list of `model.get_weights()`.
        ValueError if a name or a shape is not this network's; in that case nothing is changed.
        """
        if layout != "nnlite":
            state = layouts.ours(state, self.state_dict(), families(self.layers), layout)
        shapes = {name: shape for name, _, _, shape in self.segments()}
        kept = self.state_arrays()
        missing, unknown = sorted(set(shapes) - set(state)), sorted(map(str, set(state) - set(shapes) - set(kept)))
        if missing or unknown:
            raise ValueError(f"state has not this network's names: {layouts.difference(missing, unknown)}")
        flat, others = np.empty(len(self.parameters), self.dtype), {}
        for name, start, size, shape in self.segments():
            value = gate.parameter(state[name], shape, self.backend, self.dtype, f"state[{name!r}]")
            flat[start : start + size] = self.backend.to_numpy(value).ravel()
        for name, array in kept.items():
            if name in state:
                others[name] = gate.parameter(state[name], array.shape, self.backend, array.dtype, f"state[{name!r}]")
        self.parameters[...] = self.backend.asarray(flat)
        for name, value in others.items():
            kept[name][...] = value

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Write architecture and parameters to one safetensors file. An old file stays until the new one is complete.

        `notes` is a dict that JSON can hold; `load` puts it into `net.notes`, with lists in place of NumPy's arrays.
        TypeError for layers of your own that are not registered (`nl.register`), ValueError for weights that are NaN or
        infinite.
        """
        files.write(path, self.state_dict(), description(self), notes)

    def export(self, path: str | os.PathLike[str], function: str = "predict") -> None:
        """Write what `predict` computes for another program: model.onnx, or model.c with a function of this name.

        The file of C99 needs nothing else; for ONNX, `pip install "nnlite[onnx]"`. Both compute in the network's dtype.
        TypeError for a layer of your own that calls more than NumPy's usual functions.
        """
        export(self, path, function)
