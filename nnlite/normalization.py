"""Layers that bring their x to mean 0 and variance 1: over the rows of a batch, or within each row.

After that, y = γ x̂ + β gives every column a scale and a shift that are learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .attaching import AfterForward
from .devices import Device
from .gate import integer, number
from .layers import Layer


class Normalization(Layer):
    """What these layers share: γ and β, which start at 1 and 0."""

    gamma: Any  # (inputs,)
    beta: Any  # (inputs,)
    dgamma: Any
    dbeta: Any
    normal: Any = AfterForward()  # (N, inputs), x̂ of the last forward

    def __init__(self, inputs: int, epsilon: float, affine: bool, device: str | Device) -> None:
        super().__init__(device=device)
        self.inputs = integer(inputs, "inputs")
        self.epsilon, self.affine = number(epsilon, "epsilon", above=0), bool(affine)
        self.shapes = {"gamma": (inputs,), "beta": (inputs,)} if affine else {}

    def scaled(self, normal: Any) -> Any:
        """x̂ (N, K) -> y (N, K); keeps x̂."""
        self.normal = normal
        return self.ops.scale_shift(normal, self.gamma, self.beta) if self.affine else normal

    def scaled_backward(self, dy: Any, frozen: bool) -> Any:
        """dy (N, K) -> dx̂ (N, K); fills the gradients of γ and β if they are not frozen."""
        if not self.affine:
            return dy
        dnormal, products = self.ops.scale_shift_backward(dy, self.normal, self.gamma)
        if not frozen:
            self.ops.linear_backward_bias(products, self.dgamma)
            self.ops.linear_backward_bias(dy, self.dbeta)
        return dnormal

    def back(self, dy: Any, frozen: bool) -> Any:
        """dy (N, K) -> dx (N, K); fills the gradients if they are not frozen."""
        raise NotImplementedError

    def backward(self, dy: Any) -> Any:
        return self.back(dy, frozen=False)

    def backward_input(self, dy: Any) -> Any:
        return self.back(dy, frozen=True)

    def backward_parameters(self, dy: Any) -> None:
        self.scaled_backward(dy, frozen=False)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        first = {"gamma": 1.0, "beta": 0.0}
        return {name: np.full(shape, first[name]) for name, shape in self.shapes.items()}


class BatchNorm(Normalization):
    """y = γ (x − μ) / √(σ² + ε) + β. In training, μ and σ² are the mean and the variance of each column of the batch;
    in predictions, they are running means of those (Ioffe and Szegedy 2015).

    x, y (N, inputs). After each batch, the running mean becomes (1 − momentum) · itself + momentum · μ, and so does the
    running variance with N / (N − 1) σ², as in PyTorch. They are the state `mean` and `variance`. A batch of a single
    row, which has no variance, is normalised as in predictions, and so is every batch if the layer is frozen. Without
    `affine`, there are no γ and β. ValueError for 0 ≥ epsilon, or momentum outside 0 … 1.

    >>> layer = nl.BatchNorm(1)
    >>> layer.training = True  # a Trainer does that
    >>> layer.forward([[1.0], [3.0], [5.0]]).round(3).ravel()
    array([-1.225,  0.   ,  1.225])
    """

    kept = ("normal", "inverse", "share")
    mean: Any  # (inputs,), the running mean
    variance: Any  # (inputs,), the running variance
    inverse: Any = AfterForward()  # (inputs,), 1 / √(σ² + ε) of the last forward
    share: float = 0.0  # of a row in the batch's mean; 0 if the last forward took the running mean

    def __init__(
        self,
        inputs: int,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        affine: bool = True,
        *,
        device: str | Device = "numpy",
    ) -> None:
        super().__init__(inputs, epsilon, affine, device)
        self.momentum = number(momentum, "momentum", least=0)
        if self.momentum > 1:
            raise ValueError(f"momentum must be at most 1, not {momentum}")
        self.state = {"mean": np.zeros(inputs), "variance": np.ones(inputs)}

    def forward(self, x: Any) -> Any:
        rows = math.prod(np.shape(x)[:-1])
        if self.training and self.trainable and rows > 1:
            mean, variance, self.inverse = self.ops.batch_moments(x, self.epsilon)
            self.share, unbiased = 1 / rows, rows / (rows - 1)
            self.ops.follow_moments(mean, variance, self.mean, self.variance, self.momentum, unbiased)
        else:
            mean, self.inverse, self.share = self.mean, self.ops.inverse_deviation(self.variance, self.epsilon), 0.0
        return self.scaled(self.ops.batch_norm(x, mean, self.inverse))

    def back(self, dy: Any, frozen: bool) -> Any:
        dnormal = self.scaled_backward(dy, frozen)
        means = self.ops.batch_norm_means(dnormal, self.normal, self.share)
        return self.ops.batch_norm_backward(dnormal, self.normal, self.inverse, *means)

    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "momentum": self.momentum, "epsilon": self.epsilon, "affine": self.affine}


class LayerNorm(Normalization):
    """y = γ (x − μ) / √(σ² + ε) + β, with the mean μ and the variance σ² of each row, in training as in predictions
    (Ba, Kiros and Hinton 2016).

    x, y (N, inputs). Without `affine`, there are no γ and β. ValueError for 0 ≥ epsilon.
    """

    kept = ("normal", "inverse")
    inverse: Any = AfterForward()  # (N,), 1 / √(σ² + ε) of the last forward

    def __init__(
        self, inputs: int, epsilon: float = 1e-5, affine: bool = True, *, device: str | Device = "numpy"
    ) -> None:
        super().__init__(inputs, epsilon, affine, device)

    def forward(self, x: Any) -> Any:
        normal, self.inverse = self.ops.layer_norm(x, self.epsilon)
        return self.scaled(normal)

    def back(self, dy: Any, frozen: bool) -> Any:
        return self.ops.layer_norm_backward(self.scaled_backward(dy, frozen), self.normal, self.inverse)

    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "epsilon": self.epsilon, "affine": self.affine}
