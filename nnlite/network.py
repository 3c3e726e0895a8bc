"""A network: layers in a row, and one flat array for all their parameters.

The parameters of all layers lie in one array and their gradients in another; each layer holds views of its part. So an
optimizer is one loop, saving is one write, and to copy all parameters is to copy one array.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import elsewhere, gate
from .architecture import check_layers, families
from .arguments import shown
from .attaching import Attached, own, within
from .blocks import Chain, through_all, widths
from .devices import Device, Ops, get_device, view
from .layers import Layer, back_through, forward_through
from .predicting import Predictor
from .storing import Storable
from .summary import html_of, summary_of

Seed = int | None


class Sequential(Storable, elsewhere.Row, elsewhere.Answering):
    """Layers in a row: x (N, inputs) -> y (N, outputs).

    `device` is "numpy", "numba" ("cpu"), "cupy" ("gpu", "cuda") or "auto"; `dtype` is "float32" or "float64". One
    `seed` gives the same first weights on every device; None gives different ones each time. `threads` is the number
    of threads on numba; None takes NNLITE_NUM_THREADS, or one thread for each fast core. ValueError for layers
    that do not fit together.

    >>> net = nl.Sequential(nl.Dense(2, 3), nl.Tanh(), nl.Dense(3, 1), device="numpy")
    >>> net.predict([[0.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)
    """

    ops: Ops  # the kernels of its device
    _shape: tuple[int, ...] | None  # of the last forward's result
    _predictor: Predictor

    def __init__(
        self,
        *layers: Layer | Sequential,
        device: str | Device = "cpu",
        dtype: Any = "float32",
        seed: Seed = 0,
        threads: int | None = None,
    ) -> None:
        if len(layers) == 1 and isinstance(layers[0], list | tuple):
            layers = tuple(layers[0])
        self._layers = tuple(layer.as_layer() if isinstance(layer, Sequential) else layer for layer in layers)
        check_layers(self.layers)
        self.notes: dict[str, Any] = {}  # the notes that `load` found in the file
        self.columns: tuple[str, ...] | None = None  # of the DataFrame on which the network was first trained
        self.recorded: tuple[int, int] | None = None  # rows of the last recorded step, and the bytes reserved for it
        self.threads = gate.thread_count(threads)  # for fits, evaluations and predictions
        self.seed = seed if seed is None else gate.integer(seed, "seed", least=0)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        first = []
        for _, layer in families(self.layers):
            values = layer.first_values(layer.initial(rng))
            first += [np.ravel(values[name]) for name in layer.shapes]
        flat = np.concatenate(first) if first else np.zeros(0)
        self._attach(flat, get_device(device), gate.float_type(dtype))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, which stay the same; other layers are another network."""
        return self._layers

    @layers.setter
    def layers(self, layers: object) -> None:
        raise AttributeError("the layers of a network cannot be exchanged; make a new one: nl.Sequential(…)")

    # ---- forward and backward ----------------------------------------------------------------------------------

    def forward(self, x: Any, training: bool = False) -> Any:
        """x (N, inputs) -> y (N, outputs) on the network's device; the layers keep what `backward` needs.

        With `training`, for a loop of your own, layers such as Dropout and BatchNorm do what they do in training.
        """
        for layer in (each for each in self.layers if each.training != training):
            layer.training = training
        y = self.propagate(self.samples(x))
        self._shape = y.shape
        return y

    def backward(self, dy: Any) -> Any:
        """dy (N, outputs) -> dx (N, inputs) for the last forward's x; fills `gradients`.

        RuntimeError before any forward, ValueError if dy has another shape than the last forward's y.
        """
        dy = gate.samples(dy, self.backend, self.dtype, None, "dy")
        if self._shape is None:
            raise RuntimeError("backward needs a forward before it")
        if dy.shape != self._shape:
            raise ValueError(f"dy has shape {dy.shape}, but the last forward gave {self._shape}")
        return self.backpropagate(dy, input_gradient=True)

    def samples(self, x: Any, name: str = "x") -> Any:
        """Put x (N, inputs) through the gate. A DataFrame's columns are put in the order that the network knows."""
        x = gate.in_order(x, self.columns, name)
        checked = gate.samples(x, self.backend, self.dtype, self.inputs, name)
        if self.inputs is None:  # only the layers know which shapes fit
            try:
                through_all(self.layers, checked.shape[1])
            except ValueError as error:
                raise ValueError(f"{name} has shape {checked.shape}, which does not fit: {error}") from error
        return checked

    def propagate(self, x: Any, depth: int | None = None) -> Any:
        """`forward` through the first `depth` layers, for an x (N, inputs) that has passed the gate."""
        return forward_through(self.layers[:depth], x)

    def backpropagate(self, dy: Any, depth: int | None = None, input_gradient: bool = False) -> Any:
        """`backward` through the first `depth` layers; dx (N, inputs) only if `input_gradient`, or else None.

        Frozen layers get no gradients of their parameters.
        """
        return back_through(self.layers[:depth], dy, input_gradient)

    # ---- predictions ------------------------------------------------------------------------------------------

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """x (N, inputs) -> y (N, outputs), one answer for each row: a NumPy array for NumPy, a CuPy array for CuPy.

        At most `batch_size` rows are computed at a time; None takes the number that suits the device. A prediction does
        not change the arrays that `forward` keeps for `backward`, and any number of threads may predict at once.
        ValueError for an x of another shape or with numbers that are not finite.
        """
        most = None if batch_size is None else gate.integer(batch_size, "batch_size")
        with self.backend.explained():
            x = self.backend.borrowed(x)
            rows = x if self._as_it_is(x) else self.samples(x)
            answer = self._predictor(self, rows, most)
            if answer is None:
                self.samples(x)  # raises an error that names the number that is not finite, if there is one
                with np.errstate(over="ignore", invalid="ignore"):
                    answer = self.on(self.ops, self.arrays()).propagate(rows.copy())  # a layer may return or change it
        return answer if self.backend.owns(x) else self.backend.to_numpy(answer)

    def _as_it_is(self, x: Any) -> bool:
        """Whether the gate would return x unchanged, if its numbers are finite: the program checks that as it reads."""
        return (
            type(x) is np.ndarray
            and x.dtype == self.dtype
            and x.ndim == 2
            and x.shape[1] == self.inputs
            and x.flags.carray
            and len(x) > 0
            and self.backend.in_main_memory
        )

    # ---- parameters -------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> Any:
        """All parameters in one flat array (P,) on the device; numbers assigned to it are copied into it."""
        return self._arrays["parameters"]

    @parameters.setter
    def parameters(self, values: Any) -> None:
        self._assign("parameters", values)

    @property
    def gradients(self) -> Any:
        """The gradients (P,) that the last backward left, in the order of the parameters."""
        return self._arrays["gradients"]

    @gradients.setter
    def gradients(self, values: Any) -> None:
        self._assign("gradients", values)

    def _assign(self, name: str, values: Any) -> None:
        place = self._arrays[name]
        if values is not place:  # `net.parameters -= …` has already written into the array
            place[...] = gate.parameter(values, place.shape, self.backend, self.dtype, name)

    def state_arrays(self) -> dict[str, Any]:
        """The state of the layers, by name: arrays that they keep from step to step beside their parameters."""
        return {name: array for name, array in self._arrays.items() if name not in ("parameters", "gradients")}

    def to(self, device: str | None = None, dtype: Any = None) -> Sequential:
        """Move the network to another device, or change its dtype; returns the network itself."""
        target = self.backend if device is None else get_device(device)
        flat = self.backend.to_numpy(self.parameters)
        self._attach(flat, target, self.dtype if dtype is None else gate.float_type(dtype))
        return self

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.backend.name

    def summary(self) -> str:
        """A table to print: the layers, their output shapes, numbers of parameters and state, and the memory they take.

        After a recorded fit, it also has the memory that is reserved for the results within a step.
        """
        return summary_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)  # for notebooks

    def __repr__(self) -> str:
        return shown(self, always=("device", "dtype"), threads=gate.thread_count(None))

    def copy(self) -> Sequential:
        """An independent network with the same layers and parameters."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        flat = np.array(self.backend.to_numpy(self.parameters))
        layers = tuple(layer.bare() for layer in self.layers)  # copy.copy(net) must not share them
        state: dict[str, Any] = {"layers": layers, "seed": self.seed, "notes": self.notes, "threads": self.threads}
        return state | {"columns": self.columns, "flat": flat, "device": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.seed, self.notes, self.recorded = state["seed"], state["notes"], None
        self._layers, self.columns = tuple(state["layers"]), state.get("columns")
        self.threads = gate.thread_count(state["threads"])
        self._attach(state["flat"], state["device"], state["flat"].dtype)

    def segments(self) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
        """(name, start, size, shape) of each parameter in the flat arrays."""
        for path, name, start, shape, _ in self._places():
            yield f"{path}.{name}", start, math.prod(shape), shape

    def trained(self) -> list[tuple[int, int]]:
        """(start, size) of each stretch of the flat arrays that training moves: all but those of frozen layers."""
        stretches: list[tuple[int, int]] = []
        for _, _, start, shape, layer in self._places():
            if layer.trainable:
                before, size = stretches.pop() if stretches and sum(stretches[-1]) == start else (start, 0)
                stretches.append((before, size + math.prod(shape)))
        return stretches

    # ---- arrays, and the same network on others -------------------------------------------------------------------

    def arrays(self) -> dict[str, Any]:
        """Parameters (P,), gradients (P,) and the layers' state, by name."""
        return dict(self._arrays)

    def on(self, ops: Ops, arrays: Mapping[str, Any], training: bool = False) -> Sequential:
        """A twin of the network, with these kernels on these arrays. The network itself is not changed."""
        twin = object.__new__(type(self))
        its = {name: arrays[name] for name in self._arrays if name in arrays}
        vars(twin).update(vars(self), ops=ops, _arrays=its, _predictor=Predictor())
        views = self._views(arrays)
        twin._layers = tuple(layer.on(ops, within(views, str(i)), training) for i, layer in enumerate(self.layers))
        return twin

    def _attach(self, flat: np.ndarray, device: Device, dtype: np.dtype) -> None:
        """Put parameters and state on a device, and hand every layer its kernels and views."""
        self.backend, self.dtype = device, dtype  # where the arrays lie, and their numbers' type
        self.ops = device.ops
        self._arrays = {"parameters": device.zeros(len(flat), dtype), "gradients": device.zeros(len(flat), dtype)}
        self._arrays["parameters"][...] = device.asarray(flat, dtype)
        for path, layer in families(self.layers):
            self._arrays |= {f"{path}.{name}": array for name, array in layer.state_on(device, dtype).items()}
        self._shape, self._predictor = None, Predictor()
        self.inputs, self.outputs = widths(self.layers)
        views = self._views(self._arrays)
        for path, layer in families(self.layers):
            vars(layer).update(own(views, path), ops=device.ops, device=device, taken=True)

    def _views(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The layers' parts of these arrays, by path and name: "0.W" and "0.dW" are views, "1.draws" is state."""
        views = {name: arrays[name] for name in self.state_arrays()}
        for path, name, start, shape, _ in self._places():
            views[f"{path}.{name}"] = view(arrays["parameters"], f"{path}.{name}", start, shape)
            if "gradients" in arrays:
                views[f"{path}.d{name}"] = view(arrays["gradients"], f"{path}.d{name}", start, shape)
        return views

    def _places(self) -> Iterator[tuple[str, str, int, tuple[int, ...], Attached]]:
        """(path of the layer, parameter, start, shape, layer) of each parameter in the flat arrays."""
        start = 0
        for path, layer in families(self.layers):
            for name, shape in layer.shapes.items():
                yield path, name, start, shape, layer
                start += math.prod(shape)

    def as_layer(self) -> Chain:
        """A copy of this network as one layer, for a network of which it becomes a part.

        Parameters that have been changed since the seed drew them keep their values; else they are drawn anew there.
        """
        parts = [layer.bare() for layer in self.layers]
        rng = np.random.Generator(np.random.PCG64(self.seed))
        drawn = {f"{path}.{name}": a for path, part in families(parts) for name, a in part.initial(rng).items()}
        state, family = self.state_dict(), dict(families(parts))
        if any(not np.array_equal(drawn[name].astype(self.dtype), state[name]) for name, *_ in self.segments()):
            for path, name, *_ in self._places():
                setattr(family[path], name, state[f"{path}.{name}"])
        return Chain(*parts)
