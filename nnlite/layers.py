"""Layers: a forward that keeps what backward needs, and a backward that fills the gradients and returns dx.

A layer calls kernels, `self.ops.linear(x, W, b)`, and knows nothing of devices. Inside a network its arrays are the
network's; used by itself, it makes its own when they are first asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from .devices import Device, get_device
from .gate import Checked, integer, number, parameter
from .initializers import Initializer, initializer

L = TypeVar("L", bound="Layer")


class Own:
    """An attribute that a layer outside of any network makes, with all others of this kind, when it is asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, layer: Layer | None, owner: type) -> Any:
        if layer is None:
            return self
        if not layer.attached:
            layer.attach_alone()
        if self.name not in vars(layer):
            raise AttributeError(f"{type(layer).__name__} has no attribute {self.name!r}")
        return vars(layer)[self.name]


class Kept:
    """What a forward keeps for the backward: it is not there before."""

    def __get__(self, layer: Layer | None, owner: type) -> Any:
        if layer is None:
            return self
        raise AttributeError(f"{type(layer).__name__}.backward needs a forward before it")


class Layer:
    """What all layers share. A new one writes `forward(x) -> y` and `backward(dy) -> dx`.

    One with parameters also sets `shapes`, name -> shape, and draws their first values in `initial`; `self.W` and its
    gradient `self.dW` are then there for a parameter named "W". What a layer keeps from one step to the next and no
    gradient moves, such as a counter, is its `state`: name -> first value, an array of integers or of floats.
    """

    ops: Any = Own()  # the kernels of the device it is on
    taken = False  # whether a network has it
    training = False  # whether this is a step of training; a prediction is made without what is only for training
    changes = 0  # how often an attribute of any layer was set: what was recorded before may be out of date

    def __init__(self, *, device: str | Device = "numpy") -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.state: dict[str, Any] = {}
        self.device = device

    def forward(self, x: Any) -> Any:
        """x (N, K) -> y (N, M); keeps what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Any) -> Any:
        """dy (N, M) -> dx (N, K) for the x of the last forward; fills the gradients of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def backward_parameters(self, dy: Any) -> None:
        """`backward` without dx, which the first layer of a network in training has no use for."""
        self.backward(dy)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        """First values of the parameters, by name."""
        return {}

    def outputs_for(self, inputs: int) -> int:
        """How many columns y has for an x of so many columns; ValueError if x does not fit."""
        return inputs

    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {}

    # ---- kernels and arrays ------------------------------------------------------------------------------------

    def attach(self, ops: Any, arrays: Mapping[str, Any]) -> None:
        """Use these kernels and arrays: "W" and "dW" for a parameter W, "draws" for a state of this name."""
        vars(self).update(arrays, ops=ops)

    def on(self: L, ops: Any, arrays: Mapping[str, Any], training: bool = False) -> L:
        """The same layer with these kernels on these arrays; this one is left as it is."""
        twin = copy.copy(self)
        vars(twin).update(training=training)
        twin.attach(ops, arrays)
        return twin

    def attach_alone(self) -> None:
        """Use arrays of its own, in float64: first values, or what has been assigned."""
        device = get_device(self.device)
        values = {**self._drawn(), **self.assigned()}
        arrays = {name: device.asarray(np.array(values[name], np.float64)) for name in self.shapes}
        gradients = {f"d{name}": device.zeros(shape, np.float64) for name, shape in self.shapes.items()}
        self.attach(Checked(device), arrays | gradients | self.state_on(device, np.float64))

    def state_on(self, device: Device, dtype: Any) -> dict[str, Any]:
        """The state as arrays on this device, where it goes on from what it is; floats in this dtype."""
        arrays = {}
        for name in self.state:
            value = self.first(name, dtype)
            arrays[name] = device.zeros(value.shape, value.dtype)
            arrays[name][...] = device.asarray(value)
        return arrays

    def first(self, name: str, dtype: Any) -> np.ndarray:
        """A copy of this state in main memory as it is, or as it is at first; floats in this dtype."""
        value = vars(self).get(name, self.state[name])
        value = np.array(value.get() if hasattr(value, "get") else value)
        return value.astype(dtype if value.dtype.kind == "f" else np.int64)

    @property
    def attached(self) -> bool:
        """Whether it has kernels and arrays: a network's, or its own."""
        return "ops" in vars(self)

    def assigned(self) -> dict[str, np.ndarray]:
        """The parameters of a layer outside of any network that are not as they were drawn, by name."""
        there = {name: vars(self)[name] for name in self.shapes if name in vars(self)}
        host = {name: np.asarray(a.get() if hasattr(a, "get") else a) for name, a in there.items()}
        drawn = self._drawn() if host else {}
        return {name: a for name, a in host.items() if not np.array_equal(a, drawn[name])}

    def _drawn(self) -> Mapping[str, np.ndarray]:
        return self.initial(np.random.Generator(np.random.PCG64(0)))

    def __setattr__(self, name: str, value: Any) -> None:
        """Numbers that are assigned to a parameter or its gradient go to where its numbers are."""
        Layer.changes += 1
        shapes = vars(self).get("shapes", {})
        shape = shapes.get(name) or (shapes.get(name[1:]) if name[0] == "d" else None)
        if shape is None:
            vars(self)[name] = value
        elif not self.attached:
            vars(self)[name] = parameter(value, shape, get_device("numpy"), np.float64, f"{type(self).__name__}.{name}")
        elif value is not vars(self)[name]:  # which it is after layer.W -= …
            place = vars(self)[name]
            numbers = parameter(value, shape, get_device(self.device), place.dtype, f"{type(self).__name__}.{name}")
            place[...] = numbers

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: not the arrays, which are views of the network's, nor what the last forward kept."""
        own = {"ops", "x", "y", "mask", "training", "taken"}
        if self.attached:
            own |= {*self.shapes, *(f"d{name}" for name in self.shapes)}
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(value) for value in self.config().values())})"


class Dense(Layer):
    """Every output is a weighted sum of all inputs: y = x W + b.

    x (N, inputs), W (inputs, outputs), b (outputs,), y (N, outputs). `init` is a name of `nl.initializers` or a
    function (rng, shape) -> array; biases start at 0. By itself it works in float64 on `device`; in a network the
    network's rule. ValueError for an unknown `init` or sizes below 1.

    >>> nl.Dense(3, 2).forward([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    W, b = Own(), Own()  # (inputs, outputs), (outputs,)
    dW, db = Own(), Own()
    x: Any = Kept()  # (N, inputs), of the last forward

    def __init__(
        self,
        inputs: int,
        outputs: int,
        init: str | Initializer = "glorot_uniform",
        bias: bool = True,
        *,
        device: str | Device = "numpy",
    ) -> None:
        super().__init__(device=device)
        self.inputs, self.outputs = integer(inputs, "inputs"), integer(outputs, "outputs")
        self.init, self.bias = init, bool(bias)
        self._draw = initializer(init)
        self.shapes = {"W": (inputs, outputs)} | ({"b": (outputs,)} if bias else {})

    def forward(self, x: Any) -> Any:
        self.x = x  # (N, inputs)
        return self.ops.linear(x, self.W, self.b) if self.bias else self.ops.matmul(x, self.W)

    def backward(self, dy: Any) -> Any:
        self.backward_parameters(dy)
        return self.ops.linear_backward(dy, self.W)

    def backward_parameters(self, dy: Any) -> None:
        self.ops.linear_backward_weights(dy, self.x, self.dW)
        if self.bias:
            self.ops.linear_backward_bias(dy, self.db)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        W = np.asarray(self._draw(rng, self.shapes["W"]), np.float64)
        if W.shape != self.shapes["W"] or not np.isfinite(W).all():
            raise ValueError(f"init={self.init!r} gave an array of shape {W.shape}, expected finite {self.shapes['W']}")
        return {"W": W, "b": np.zeros(self.outputs)}

    def outputs_for(self, inputs: int) -> int:
        if inputs != self.inputs:
            raise ValueError(f"{self!r} reads {self.inputs} columns, but the layer before it gives {inputs}")
        return self.outputs

    def config(self) -> dict[str, Any]:
        known = {"init": self.init} if isinstance(self.init, str) else {}
        return {"inputs": self.inputs, "outputs": self.outputs} | known | {"bias": self.bias}

    def __repr__(self) -> str:
        return f"Dense({self.inputs}, {self.outputs}{'' if self.bias else ', bias=False'})"


class Dropout(Layer):
    """In training, each number is set to 0 with probability `rate`, and the others are divided by 1 − rate, so that
    their mean stays; in predictions, y = x (Srivastava et al. 2014, "inverted").

    x, y (N, K). What is dropped depends on the network's seed and on how many steps were made, on every device alike.

    >>> layer = nl.Dropout(0.5)
    >>> layer.training = True  # a Trainer does that
    >>> layer.forward(np.ones((1, 6)))
    array([[2., 0., 0., 2., 0., 0.]])
    """

    draws = Own()  # (1,), how often it has drawn
    key = 0

    def __init__(self, rate: float = 0.5, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.rate = number(rate, "rate", least=0, below=1)
        self.state = {"draws": np.zeros(1, np.int64)}
        self.mask: Any = None  # (N, K), of the last forward; None for one that dropped nothing

    def forward(self, x: Any) -> Any:
        if not self.training:
            self.mask = None
            return x
        y, self.mask = self.ops.dropout(x, self.draws, self.key, self.rate)
        self.ops.count_step(self.draws)
        return y

    def backward(self, dy: Any) -> Any:
        return dy if self.mask is None else self.ops.dropout_backward(dy, self.mask)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        self.key = int(rng.integers(2**32))
        return {}

    def config(self) -> dict[str, Any]:
        return {"rate": self.rate}
