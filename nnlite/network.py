"""A network: layers in a row, and one flat array for all their parameters.

The parameters of all layers lie in one array and their gradients in another; each layer holds views of its part. So an
optimizer is one loop, saving is one write, and a copy of the network's state is a copy of one array.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import files, gate
from .activations import ACTIVATIONS, activation
from .devices import get_device
from .devices.numpy.device import NumpyDevice
from .initializers import Initializer
from .layers import Dense, Dropout, Layer

Seed = int | None


class Sequential:
    """Layers in a row: x (N, inputs) -> y (N, outputs).

    device "numpy", "numba" ("cpu"), "cupy" ("gpu", "cuda") or "auto"; dtype "float32" or "float64"; one seed gives the
    same first weights on every device (None: other ones each time). threads: for training on numba; None takes
    NNLITE_NUM_THREADS or all CPUs that the process may use.

    >>> net = nl.Sequential(nl.Dense(2, 3), nl.Tanh(), nl.Dense(3, 1), device="numpy")
    >>> net.predict([[0.0, 1.0], [1.0, 1.0]]).shape
    (2, 1)
    """

    _shape: tuple[int, ...] | None  # of the last forward's result

    def __init__(
        self,
        *layers: Layer,
        device: str | NumpyDevice = "cpu",
        dtype: Any = "float32",
        seed: Seed = 0,
        threads: int | None = None,
    ) -> None:
        _check_layers(layers)
        self.layers = list(layers)
        self.notes: dict[str, Any] = {}  # whatever `save` was given and `load` found
        self.recorded: tuple[int, int] | None = None  # rows of the last recorded step, and bytes reserved for it
        self.threads = gate.thread_count(threads)  # for the replay of a recorded step
        self.seed = seed if seed is None else gate.integer(seed, "seed", least=0)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        first = []
        for layer in layers:
            values = layer.initial(rng)
            first += [np.ravel(values[name]) for name in layer.shapes]
        flat = np.concatenate(first) if first else np.zeros(0)
        self._attach(flat, get_device(device), gate.float_type(dtype))

    # ---- forward and backward ----------------------------------------------------------------------------------

    def forward(self, x: Any) -> Any:
        """x (N, inputs) -> y (N, outputs) on the network's device; the layers keep what `backward` needs."""
        return self.propagate(gate.samples(x, self.backend, self.dtype, self.inputs))

    def backward(self, dy: Any) -> Any:
        """dy (N, outputs) -> dx (N, inputs) for the last forward's x; fills `gradients`."""
        dy = gate.samples(dy, self.backend, self.dtype, None, "dy")
        if self._shape is None:
            raise RuntimeError("backward needs a forward before it")
        if dy.shape != self._shape:
            raise ValueError(f"dy has shape {dy.shape}, but the last forward gave {self._shape}")
        return self.backpropagate(dy, input_gradient=True)

    def propagate(self, x: Any, depth: int | None = None) -> Any:
        """`forward` for an x that has passed the gate, through the first `depth` layers."""
        for layer in self.layers[:depth]:
            x = layer.forward(x)
        self._shape = x.shape
        return x

    def backpropagate(self, dy: Any, depth: int | None = None, input_gradient: bool = False) -> Any:
        """`backward` through the first `depth` layers; the gradient by x is left out unless asked for."""
        first, *rest = self.layers[:depth]
        for layer in reversed(rest):
            dy = layer.backward(dy)
        return first.backward(dy) if input_gradient else first.backward_parameters(dy)

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """x (N, inputs) -> y (N, outputs), every row answered; NumPy in, NumPy out; CuPy in, CuPy out.

        Computed batch_size rows at a time; None takes as many as keep the intermediate results small.
        """
        size = 4096 if batch_size is None else gate.integer(batch_size, "batch_size")
        with self.backend.explained():
            x = self.backend.borrowed(x)
            checked = gate.samples(x, self.backend, self.dtype, self.inputs)
            answers = [self.propagate(checked[i : i + size]) for i in range(0, len(checked), size)]  # (≤ size, outputs)
        if self.backend.owns(x):
            return np.concatenate(answers)
        return np.concatenate([self.backend.to_numpy(answer) for answer in answers])

    # ---- parameters -------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters in main memory: {"0.W": (inputs, outputs), "0.b": (outputs,), …}."""
        flat = np.array(self.backend.to_numpy(self.parameters))
        return {name: flat[start : start + size].reshape(shape) for name, start, size, shape in self.segments()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over parameters by name; ValueError, and nothing changed, if a name or a shape is not this network's."""
        wanted = {name: shape for name, _, _, shape in self.segments()}
        if set(state) != set(wanted):
            missing, extra = sorted(set(wanted) - set(state)), sorted(map(str, set(state) - set(wanted)))
            raise ValueError(f"state has not this network's names: missing {missing}, unknown {extra}")
        flat = np.empty(len(self.parameters), self.dtype)
        for name, start, size, shape in self.segments():
            value = gate.numeric(state[name], self.backend, f"state[{name!r}]")
            if value.shape != shape:
                raise ValueError(f"state[{name!r}] has shape {value.shape}, expected {shape}")
            value = gate.finite(value, self.backend, self.dtype, f"state[{name!r}]")
            flat[start : start + size] = self.backend.to_numpy(value).ravel()
        self.parameters[...] = self.backend.asarray(flat)

    def to(self, device: str | None = None, dtype: Any = None) -> Sequential:
        """Move to another device, or change to another dtype; returns the network itself."""
        target = self.backend if device is None else get_device(device)
        flat = self.backend.to_numpy(self.parameters)
        self._attach(flat, target, self.dtype if dtype is None else gate.float_type(dtype))
        return self

    def copy(self) -> Sequential:
        """An independent network with the same layers and parameters."""
        return copy.deepcopy(self)

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.backend.name

    def summary(self) -> str:
        """The layers, their output shapes and numbers of parameters, and the memory they take: a table to be printed.

        After a fit that was recorded, also what is reserved for the results within a step.
        """
        rows, width = [("layer        ", "output shape", "parameters")], self.inputs
        for i, layer in enumerate(self.layers):
            width = layer.outputs_for(width) if width else None
            count = sum(int(np.prod(shape)) for shape in layer.shapes.values())
            rows.append((f"{i} {layer!r}", f"(N, {width or '…'})", f"{count:,}"))
        rows.append(("total", f"{self.dtype}, {self.device}", f"{len(self.parameters):,}"))
        widths = [max(len(row[c]) for row in rows) for c in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        rule = "─" * len(lines[0])
        each = memory(len(self.parameters) * self.dtype.itemsize)
        taken = [f"{'memory':<{widths[0]}}  parameters {each}, gradients {each}"]
        if self.recorded:
            of_step = f"{memory(self.recorded[1])} for a batch of {self.recorded[0]:,} rows"
            taken.append(f"{'recorded step':<{widths[0]}}  {of_step}")
        return "\n".join([lines[0], rule, *lines[1:-1], rule, *taken, lines[-1]])

    # ---- files ------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Write architecture and parameters to one safetensors file; an old file stays whole until the new one is.

        `notes` is anything JSON can hold, with text as keys; `load` puts it into `net.notes`, NumPy's arrays as lists.
        TypeError for layers that are not nnlite's, ValueError for weights that are NaN or infinite.
        """
        strange = [type(layer).__name__ for layer in self.layers if LAYERS.get(type(layer).__name__) is not type(layer)]
        if strange:
            raise TypeError(
                f"{', '.join(strange)}: only nnlite's own layers can be saved; keep net.state_dict() instead"
            )
        layers = [{"layer": type(layer).__name__, **layer.config()} for layer in self.layers]
        files.write(path, self.state_dict(), {"layers": layers, "dtype": str(self.dtype)}, notes)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))}, device={self.device!r}, dtype={str(self.dtype)!r})"

    def __getstate__(self) -> dict[str, Any]:
        flat = np.array(self.backend.to_numpy(self.parameters))
        state = {"layers": self.layers, "seed": self.seed, "notes": self.notes, "threads": self.threads}
        return state | {"flat": flat, "device": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.layers, self.seed, self.notes = state["layers"], state["seed"], state["notes"]
        self.recorded = None
        self.threads = gate.thread_count(state["threads"])
        self._attach(state["flat"], state["device"], state["flat"].dtype)

    def segments(self) -> Iterable[tuple[str, int, int, tuple[int, ...]]]:
        """(name, start, size, shape) of each parameter in the flat arrays."""
        start = 0
        for i, layer in enumerate(self.layers):
            for name, shape in layer.shapes.items():
                size = int(np.prod(shape))
                yield f"{i}.{name}", start, size, shape
                start += size

    def _attach(self, flat: np.ndarray, device: Any, dtype: np.dtype) -> None:
        """Put the parameters on a device and hand every layer its views."""
        self.backend, self.dtype = device, dtype  # where the arrays are, and what they hold
        self.ops = device.ops
        self.parameters = device.zeros(len(flat), dtype)  # (P,)
        self.parameters[...] = device.asarray(flat.astype(dtype), dtype)
        self.gradients = device.zeros(len(flat), dtype)  # (P,)
        self._shape = None
        self.inputs = next((layer.inputs for layer in self.layers if isinstance(layer, Dense)), None)
        self.outputs = next((layer.outputs for layer in reversed(self.layers) if isinstance(layer, Dense)), None)

        def views(name: str, start: int, size: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
            place = slice(start, start + size)
            return self.parameters[place].reshape(shape), self.gradients[place].reshape(shape)

        self.hand_out(device.ops, views)
        for layer in self.layers:
            layer.count_on(device)

    @contextlib.contextmanager
    def in_training(self) -> Iterator[None]:
        """With this, layers such as Dropout do what they do in training; otherwise a forward is a prediction."""
        for layer in self.layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in self.layers:
                layer.training = False

    def hand_out(self, ops: Any, part: Callable[[str, int, int, tuple[int, ...]], tuple[Any, Any]]) -> None:
        """Give every layer these kernels, and of each of its parameters part(name, start, size, shape) -> (w, dw)."""
        parts = {segment[0]: part(*segment) for segment in self.segments()}
        for i, layer in enumerate(self.layers):
            own = {name: parts[f"{i}.{name}"] for name in layer.shapes}
            layer.attach(ops, {name: w for name, (w, _) in own.items()}, {name: dw for name, (_, dw) in own.items()})


def memory(size: int) -> str:
    """Bytes as a person reads them.

    >>> nl.network.memory(9640)
    '9.4 KiB'
    """
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{min(power, 1)}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def mlp(
    sizes: Sequence[int],
    hidden: str | Sequence[str] = "relu",
    output: str = "identity",
    init: str | Initializer = "glorot_uniform",
    device: str = "cpu",
    dtype: Any = "float32",
    seed: Seed = 0,
    threads: int | None = None,
) -> Sequential:
    """A multilayer perceptron in one call: sizes [inputs, hidden …, outputs], with a Dense between neighbours.

    `hidden` is an activation's name for all hidden layers, or one name for each; `output` that of the last layer.

    >>> nl.mlp([784, 128, 10], output="softmax", device="numpy").layers
    [Dense(784, 128), ReLU(), Dense(128, 10), Softmax()]
    """
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) < 2:
        raise ValueError(
            f"sizes={sizes!r} must list at least the number of inputs and of outputs, such as [784, 128, 10]"
        )
    names = [hidden] * (len(sizes) - 2) if isinstance(hidden, str) else list(hidden)
    if len(names) != len(sizes) - 2:
        raise ValueError(f"hidden={hidden!r} names {len(names)} activations for {len(sizes) - 2} hidden layers")
    layers: list[Layer] = []
    for inputs, outputs, name in zip(sizes, sizes[1:], [*names, output]):
        layers += [Dense(inputs, outputs, init), activation(name)]
    if isinstance(output, str) and output == "identity":
        layers.pop()
    return Sequential(*layers, device=device, dtype=dtype, seed=seed, threads=threads)


LAYERS: dict[str, type[Layer]] = {"Dense": Dense, "Dropout": Dropout} | {
    kind.__name__: kind for kind in ACTIVATIONS.values()
}


def load(path: str | os.PathLike[str], device: str = "cpu") -> Sequential:
    """The network that `net.save(path)` wrote; CorruptFileError if the file is not one."""
    backend = get_device(device)  # what is wrong with the device is said before the file is read
    with files.read(path) as file:
        layers, dtype = _from_config(file)
        shapes = {f"{i}.{name}": shape for i, layer in enumerate(layers) for name, shape in layer.shapes.items()}
        flat, notes = file.numbers(shapes, dtype), file.config.get("notes", {})
    net = Sequential.__new__(Sequential)  # nothing is drawn that would be written over
    net.__setstate__({"layers": layers, "seed": 0, "notes": notes, "threads": None, "flat": flat, "device": backend})
    return net


def _from_config(file: files.File) -> tuple[list[Layer], np.dtype]:
    """The layers, not yet in a network, and the dtype that the file describes."""
    rng = np.random.Generator(np.random.PCG64(0))
    try:
        layers: list[Layer] = []
        for entry in file.config["layers"]:
            arguments = {key: value for key, value in entry.items() if key != "layer"}
            layer = gate.choose(LAYERS, entry["layer"], "layer")(**arguments)
            if not arguments.keys() <= layer.config().keys():
                raise ValueError(f"{entry['layer']} has no such arguments: {', '.join(arguments)}")
            if not layer.shapes:
                layer.initial(rng)  # what else it draws, such as the key of a Dropout
            layers.append(layer)
        _check_layers(layers)
        return layers, gate.float_type(file.config["dtype"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = str(error)
        why = why if len(why) < 500 else f"{why[:100]} … {why[-300:]}"  # it may quote a megabyte of the file
        what = "the description of the network is damaged"
        raise files.CorruptFileError(f"{file.path}: {what}: {why}") from error


def _check_layers(layers: Sequence[Any]) -> None:
    """Each a layer, each only once, each reading what the one before it gives."""
    if not layers:
        raise ValueError("a network needs at least one layer, such as nl.Dense(2, 1)")
    width: int | None = None
    met: set[int] = set()
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {i} is {layer!r}, expected a layer such as nl.Dense(2, 1) or nl.ReLU()")
        if id(layer) in met or "ops" in layer.__dict__:
            raise ValueError(f"layer {i}, {layer!r}, is already in use; make a new one for each place")
        met.add(id(layer))
        if width is None:
            width = getattr(layer, "inputs", None)
        if width is not None:
            width = layer.outputs_for(width)
