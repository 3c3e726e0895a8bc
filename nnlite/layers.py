"""Layers: a forward that keeps what backward needs, and a backward that fills the gradients and returns dx.

A layer calls kernels, such as `self.ops.linear(x, W, b)`, and knows nothing of devices. Inside a network, its arrays
are views of the network's arrays. A layer outside of any network makes its own arrays when they are first used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arguments import shown
from .attaching import AfterForward, Attached, learns
from .devices import Device
from .gate import integer
from .initializers import Initializer, checked, initializer
from .returned import same_rows


class Layer(Attached):
    """What all layers share. A new layer writes `forward(x) -> y` and `backward(dy) -> dx`.

    Layers in its attributes are parts of it: their parameters are trained and saved with it. A layer whose y has not as
    many columns as x sets `inputs` and `outputs`, or writes `outputs_for`.

    A layer with parameters also sets `shapes`, name -> shape, and draws their first values in `initial`. A parameter
    named "W" is then `self.W`, and its gradient `self.dW`. Values that a layer keeps from one step to the next and that
    no gradient moves, such as a counter, are its `state`: name -> first value, an array of integers or of floats. Twins
    of the layer make the steps (see `on`): any other attribute that a forward sets is there only for its backward.
    `layer.trainable = False` freezes it and the layers in it: training then computes no gradients of their parameters.

    A recorded step contains the numbers in the layer's attributes, also those in lists, tuples and dicts. It is
    recorded anew after one of them has changed, or an array is another one. Changes inside other objects are not
    noticed.
    """

    inputs: int | None = None  # the number of columns of x, if it has to be this one
    outputs: int | None = None  # the number of columns of y, if it is not that of x

    def forward(self, x: Any) -> Any:
        """x (N, K) -> y (N, M); keeps what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, dy: Any) -> Any:
        """dy (N, M) -> dx (N, K) for the x of the last forward; fills the gradients of the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def backward_parameters(self, dy: Any) -> None:
        """`backward` without dx: in training, nothing needs the dx of a network's first layer."""
        self.backward(dy)

    def backward_input(self, dy: Any) -> Any:
        """`backward` without the gradients of the parameters: in training, nothing needs those of a frozen layer."""
        return self.backward(dy)

    def outputs_for(self, inputs: int) -> int:
        """The number of columns of y, for an x with `inputs` columns; ValueError if x does not fit."""
        if self.inputs not in (None, inputs):
            raise ValueError(f"{self!r} reads {self.inputs} columns, but the layer before it gives {inputs}")
        return self.outputs or inputs

    def config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {}

    __repr__ = shown


class Dense(Layer):
    """Every output is a weighted sum of all inputs: y = x W + b.

    x (N, inputs), W (inputs, outputs), b (outputs,), y (N, outputs). `init` is a name of `nl.initializers` or a
    function (rng, shape) -> array; so is `bias_init`, or else a number. Outside of any network, the layer works in
    float64 on `device`; in a network, with the network's dtype on its device. ValueError for an unknown `init` or sizes
    below 1.

    >>> nl.Dense(3, 2).forward([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    _usage = "nl.Dense(4, 8) has 4 inputs and 8 outputs"
    W: Any  # (inputs, outputs)
    b: Any  # (outputs,)
    dW: Any
    db: Any
    kept = ("x",)
    x: Any = AfterForward()  # (N, inputs), of the last forward

    def __init__(
        self,
        inputs: int,
        outputs: int,
        init: str | Initializer = "glorot_uniform",
        bias: bool = True,
        bias_init: str | Initializer | float = 0.0,
        *,
        device: str | Device = "numpy",
    ) -> None:
        super().__init__(device=device)
        self.inputs, self.outputs = integer(inputs, "inputs"), integer(outputs, "outputs")
        self.init, self.bias, self.bias_init = checked(init, "init"), bool(bias), checked(bias_init, "bias_init")
        self.shapes = {"W": (self.inputs, self.outputs)} | ({"b": (self.outputs,)} if bias else {})

    def forward(self, x: Any) -> Any:
        self.x = x  # (N, inputs)
        return self.ops.linear(x, self.W, self.b) if self.bias else self.ops.matmul(x, self.W)

    def backward(self, dy: Any) -> Any:
        self.backward_parameters(dy)
        return self.backward_input(dy)

    def backward_parameters(self, dy: Any) -> None:
        self.ops.linear_backward_weights(dy, self.x, self.dW)
        if self.bias:
            self.ops.linear_backward_bias(dy, self.db)

    def backward_input(self, dy: Any) -> Any:
        return self.ops.linear_backward(dy, self.W)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        values = {}
        for (name, shape), argument in zip(self.shapes.items(), ("init", "bias_init")):
            given = getattr(self, argument)
            values[name] = a = np.asarray(initializer(given, argument)(rng, shape), np.float64)
            if a.shape != shape or not np.isfinite(a).all():
                raise ValueError(f"{argument}={given!r} gave an array of shape {a.shape}, expected finite {shape}")
        return values

    def config(self) -> dict[str, Any]:
        known = {"init": self.init, "bias": self.bias, "bias_init": self.bias_init}
        return {"inputs": self.inputs, "outputs": self.outputs, **{n: v for n, v in known.items() if not callable(v)}}


def forward_through(layers: Sequence[Any], x: Any) -> Any:
    """`forward` of layers in a row -> y of the last one. ValueError for a layer whose y has other rows than its x."""
    for layer in layers:
        x = same_rows(layer, "forward(x)", layer.forward(x), x)
    return x


def back_through(layers: Sequence[Any], dy: Any, input_gradient: bool = True) -> Any:
    """`backward` of layers in a row, the last one first -> dx of the first layer; None without `input_gradient`.

    For frozen layers, gradients of their parameters are not computed. Without `input_gradient`, nothing is computed
    below the first layer that learns. ValueError for a layer whose dx has other rows than its dy.
    """
    first = 0 if input_gradient else next((i for i, layer in enumerate(layers) if learns(layer)), len(layers))
    for i in reversed(range(first, len(layers))):
        layer = layers[i]
        if i == first and not input_gradient:
            layer.backward_parameters(dy)
            return None
        dx = layer.backward(dy) if learns(layer) else layer.backward_input(dy)
        dy = same_rows(layer, "backward(dy)", dx, dy) if i or dx is not None else None  # the first one's is not needed
    return dy if input_gradient else None
