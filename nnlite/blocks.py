"""Layers made of layers: a row of them as one layer, and a row with a connection around it."""

from __future__ import annotations

from typing import Any

from .devices import Device
from .layers import Dense, Layer, back_through, forward_through


class Chain(Layer):
    """Layers in a row as one layer. A copy of a `Sequential` inside another one, or in a layer of layers, becomes one.

    Its parameters are named by their places, such as "1.0.W" for the first layer inside layer 1 of a network.

    >>> nl.Chain(nl.Dense(3, 4), nl.Tanh()).forward([[1.0, 2.0, 3.0]]).shape
    (1, 4)
    """

    def __init__(self, *layers: Any, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        if not layers:
            raise ValueError(f"{type(self).__name__} needs at least one layer, such as nl.Dense(2, 2)")
        self.layers = as_layers(layers)
        self.inputs, self.outputs = widths(self.layers)  # None where only the data tell

    def forward(self, x: Any) -> Any:
        if not self.attached:
            self.attach_alone()  # before a layer inside does so by itself, on a device of its own
        return forward_through(self.layers, x)

    def backward(self, dy: Any) -> Any:
        return back_through(self.layers, dy)

    def backward_parameters(self, dy: Any) -> None:
        back_through(self.layers, dy, input_gradient=False)

    def outputs_for(self, inputs: int) -> int:
        return through_all(self.layers, inputs) or inputs

    def config(self) -> dict[str, Any]:
        return {"layers": list(self.layers)}


class Residual(Chain):
    """y = x + f(x), where f is these layers in a row: they learn what is to be added to x (He et al. 2016).

    x, y (N, K). f must give as many columns as it reads, or else ValueError; with `projection`, x goes through a matrix
    of its own first: y = x P + f(x), with P (inputs, outputs).

    >>> nl.Residual(nl.Dense(4, 4), nl.Tanh(), nl.Dense(4, 4)).outputs_for(4)
    4
    """

    def __init__(self, *layers: Any, projection: bool = False, device: str | Device = "numpy") -> None:
        super().__init__(*layers, device=device)
        self.projection: Dense | None = None
        if projection:
            if self.inputs is None or self.outputs is None:
                raise ValueError("projection=True needs layers that tell their widths, such as nl.Dense(2, 3)")
            self.projection = Dense(self.inputs, self.outputs, bias=False)
        elif self.inputs is not None:
            self.outputs_for(self.inputs)

    def forward(self, x: Any) -> Any:
        f = super().forward(x)
        return self.ops.add(f, self.projection.forward(x) if self.projection else x)

    def backward(self, dy: Any) -> Any:
        around = back_through([self.projection], dy) if self.projection else dy
        return self.ops.add(super().backward(dy), around)

    def backward_parameters(self, dy: Any) -> None:
        super().backward_parameters(dy)
        if self.projection:
            back_through([self.projection], dy, input_gradient=False)

    def outputs_for(self, inputs: int) -> int:
        outputs = super().outputs_for(inputs)
        if outputs != inputs and not self.projection:
            raise ValueError(
                f"{self!r} cannot add x, of {inputs} columns, to f(x), of {outputs}: let its layers give {inputs} "
                "columns, or take projection=True, which brings x to the width of f(x) by a matrix"
            )
        return outputs

    def config(self) -> dict[str, Any]:
        return super().config() | {"projection": self.projection is not None}


def as_layers(layers: Any) -> tuple[Layer, ...]:
    """These layers, with a `Chain` in the place of each network; TypeError for anything else."""
    found = tuple(layer.as_layer() if hasattr(layer, "as_layer") else layer for layer in layers)
    for i, layer in enumerate(found):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {i} is {layer!r}, expected a layer such as nl.Dense(2, 1) or nl.ReLU()")
    return found


def widths(layers: Any) -> tuple[int | None, int | None]:
    """The number of columns of x and of y; None for a number that the layers do not know before they see data."""
    start = next((i for i, layer in enumerate(layers) if layer.inputs), None)
    if start is None:
        return None, None
    inputs = layers[start].inputs
    return inputs if all(map(keeps_width, layers[:start])) else None, through_all(layers[start:], inputs)


def keeps_width(layer: Layer) -> bool:
    """Whether y has as many columns as x, whatever their number."""
    if isinstance(layer, Chain):
        return all(map(keeps_width, layer.layers))
    return type(layer).outputs_for is Layer.outputs_for and layer.outputs is None


def through_all(layers: Any, inputs: int | None) -> int | None:
    """The number of columns of y for an x with `inputs` columns; ValueError where a layer does not fit the one before.

    With None, the first layer that knows its number of columns tells it.
    """
    for layer in layers:
        inputs = inputs or layer.inputs
        inputs = layer.outputs_for(inputs) if inputs else None
    return inputs
