"""Layers: a forward that keeps what backward needs, and a backward that fills the gradients and returns dx.

A layer calls kernels, `self.ops.linear(x, W, b)`, and knows nothing of devices. Inside a network its arrays are the
network's; used by itself, it makes its own when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .devices import get_device
from .devices.device import Device
from .gate import Checked, integer, number, parameter
from .initializers import Initializer, initializer
from .programs import twin_of

L = TypeVar("L", bound="Layer")


class Layer:
    """What all layers share. A new one writes `forward(x) -> y` and `backward(dy) -> dx`.

    One with parameters also sets `shapes`, name -> shape, and draws their first values in `initial`; `self.W` and its
    gradient `self.dW` are then there for a parameter named "W". What a layer keeps from one step to the next and no
    gradient moves, such as a counter, is its `state`: name -> first value, an array of integers or of floats. Steps are
    made by twins of the layer (see `on`): what a forward sets to other attributes is there for its backward only.

    A recorded step has numbers of the layer's attributes in it, also of those in lists, tuples and dicts, and is
    recorded anew after one of them has changed. What lies in arrays or in other objects is not looked at.
    """

    ops: Any  # the kernels of the device it is on
    kept: tuple[str, ...] = ()  # names of what a forward keeps for its backward
    taken = False  # whether a network has it
    at_work = False  # whether it is a twin that makes a step
    training = False  # whether this is a step of training; a prediction is made without what is only for training
    changes: Any = None  # another object whenever an attribute of any layer has been set: recordings may be out of date

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
        twin = twin_of(self, Layer, without=self.kept)
        vars(twin).update(training=training, at_work=True)
        twin.attach(ops, arrays)
        return twin

    def attach_alone(self) -> None:
        """Use arrays of its own, in float64: first values, or what has been assigned."""
        device = get_device(self.device)
        drawn = self.initial(np.random.Generator(np.random.PCG64(0)))
        values = {**drawn, **self.assigned()}
        vars(self)["drawn"] = {name: np.array(drawn[name], np.float64) for name in self.shapes}
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
        value = _host(vars(self).get(name, self.state[name]))
        return value.astype(dtype if value.dtype.kind == "f" else np.int64)

    @property
    def attached(self) -> bool:
        """Whether it has kernels and arrays: a network's, or its own."""
        return "ops" in vars(self)

    def assigned(self) -> dict[str, np.ndarray]:
        """The parameters of a layer outside of any network that are not as they were drawn, by name."""
        drawn = vars(self).get("drawn", {})
        there = {name: _host(vars(self)[name]) for name in self.shapes if name in vars(self)}
        return {name: a for name, a in there.items() if not np.array_equal(a, drawn.get(name))}

    def _place(self, name: str) -> tuple[tuple[int, ...], Any] | None:
        """Shape and dtype of the array of this name, a parameter, its gradient or a state; None if it is none."""
        shapes, state = vars(self).get("shapes", {}), vars(self).get("state", {})
        for each in (name, name[1:] if name.startswith("d") else name):
            if each in shapes:
                return shapes[each], np.float64
        if name in state:
            first = np.asarray(state[name])
            return first.shape, np.float64 if first.dtype.kind == "f" else np.int64
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        """Numbers that are assigned to a parameter, its gradient or a state go to where its numbers are."""
        found, place, told = self._place(name), vars(self).get(name), f"{type(self).__name__}.{name}"
        if found is None:
            vars(self)[name] = value
        elif not self.attached:
            vars(self)[name] = np.array(parameter(value, *found[:1], get_device("numpy"), found[1], told))
        elif value is place:  # as after layer.W -= …
            pass
        elif self.at_work:  # in a step, where what is not finite is a matter of the trainer's
            if np.shape(value) != found[0]:
                raise ValueError(f"{told} has shape {np.shape(value)}, expected {found[0]}")
            vars(self)[name][...] = value
        else:
            numbers = parameter(value, found[0], get_device(self.device), vars(self)[name].dtype, told)
            vars(self)[name][...] = numbers
        Layer.changes = object()  # after the change: whoever sees it in another thread sees the new attribute

    if not TYPE_CHECKING:  # or every misspelt name would pass for an attribute

        def __getattr__(self, name: str) -> Any:
            """What is not there. A layer outside of any network makes its arrays when one is first asked for."""
            kind = type(self).__name__
            if not self.attached and (name == "ops" or self._place(name)):
                self.attach_alone()
                return vars(self)[name]
            if name in ("shapes", "state", "device"):
                raise AttributeError(f"{kind}.__init__ must call super().__init__() before it uses {name!r}")
            if name in self.kept:
                raise AttributeError(f"{kind}.backward needs a forward before it")
            raise AttributeError(f"{kind} has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: not the arrays, which are views of the network's, nor what the last forward kept.

        Of a layer outside of any network, the parameters that have been assigned.
        """
        without = {"ops", "drawn", "training", "taken", "at_work", *self.kept}
        if self.attached:
            without |= {*self.shapes, *(f"d{name}" for name in self.shapes)}
        state = {name: value for name, value in vars(self).items() if name not in without}
        state |= {name: _host(state[name]) for name in self.state if name in state}
        return state if self.taken else state | self.assigned()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(value) for value in self.config().values())})"


def _host(array: Any) -> np.ndarray:
    """A copy in main memory."""
    return np.array(array.get() if hasattr(array, "get") else array)


class Dense(Layer):
    """Every output is a weighted sum of all inputs: y = x W + b.

    x (N, inputs), W (inputs, outputs), b (outputs,), y (N, outputs). `init` is a name of `nl.initializers` or a
    function (rng, shape) -> array; biases start at 0. By itself it works in float64 on `device`; in a network the
    network's rule. ValueError for an unknown `init` or sizes below 1.

    >>> nl.Dense(3, 2).forward([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    W: Any  # (inputs, outputs)
    b: Any  # (outputs,)
    dW: Any
    db: Any
    kept = ("x",)
    x: Any  # (N, inputs), of the last forward

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

    draws: Any  # (1,), how often it has drawn
    key = 0
    kept = ("mask",)
    mask: Any  # (N, K), of the last forward; None for one that dropped nothing

    def __init__(self, rate: float = 0.5, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.rate = number(rate, "rate", least=0, below=1)
        self.state = {"draws": np.zeros(1, np.int64)}

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
