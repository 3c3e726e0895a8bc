"""Losses: how far a prediction is from its target, and the gradient of that distance, from one pass.

ℓₙ is the loss of sample n: a mean over its K outputs, except for categorical cross-entropy, which sums over classes.
`reduction` is "mean" over samples (and outputs), "sum" over both, or "none", which returns ℓ (N,) as it is. The
gradient for "none" is the gradient of Σ ℓₙ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activations import Activation, Identity, Sigmoid, Softmax
from .devices import Ops, get_device
from .gate import choose, finite, numeric, one_of, targets
from .twins import twin_of


class Loss:
    """What all losses share. A new loss writes `kernel`, which returns ℓ (N,) and scale · dℓ/dprediction (N, K)."""

    target = "real"  # the kind of target: "real", "probability" (0 … 1) or "class" (labels or one-hot rows)
    over_outputs = True  # whether ℓₙ is a mean over the outputs
    link: type[Activation] | None = None  # the output activation that `from_logits` computes inside
    from_logits = False

    def __init__(self, reduction: str = "mean", *, device: str = "numpy") -> None:
        self.reduction = one_of(reduction, ("mean", "sum", "none"), "reduction")
        self.backend = get_device(device)  # the device, for a loss that is used by itself
        self.ops: Ops = self.backend.ops
        self.gradient: Any = None  # (N, K), of the last forward

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        """prediction (N, K), target (N, K) -> ℓ (N,), scale · dℓ/dprediction (N, K)."""
        raise NotImplementedError(f"{type(self).__name__} has no kernel")

    def forward(self, prediction: Any, target: Any) -> Any:
        """prediction (N, K), target (N, K) or labels (N,) -> the loss: a float, or ℓ (N,) for reduction "none".

        ValueError for shapes that do not fit, and for numbers that are not finite or outside the range of this loss.
        """
        p = numeric(prediction, self.backend, "prediction")
        if p.ndim not in (1, 2) or 0 in p.shape:
            raise ValueError(f"prediction has shape {p.shape}, expected (N, K) or (N,) with at least one row")
        t = numeric(target, self.backend, "target")
        shape = p.shape
        if shape != t.shape and not (self.target == "class" and t.ndim == 1 and p.ndim == 2 and shape[1] > 1):
            raise ValueError(f"target has shape {t.shape}, prediction {shape}: they must be the same")
        dtype = np.float32 if p.dtype == np.float32 and t.dtype.kind != "c" else np.float64
        p = finite(p.reshape(len(p), -1), self.backend, dtype, "prediction")
        if self.target != "real" and not self.from_logits and ((p < 0) | (p > 1 + 1e-6)).any():
            raise ValueError(
                f"prediction has values outside 0 … 1, which {type(self).__name__} expects; for values before the "
                f"{self.link.__name__ if self.link else 'activation'} use from_logits=True"
            )
        t = targets(t, p.shape, self.backend, dtype, self.target, "target")
        losses = self.measure(p, t)
        self.gradient = self.gradient.reshape(shape)
        return losses if self.reduction == "none" else self.reduce(losses, p.shape[1])

    def backward(self) -> Any:
        """The gradient of the loss by the prediction, in the shape that the last forward's prediction had."""
        if self.gradient is None:
            raise RuntimeError(f"{type(self).__name__}.backward() needs a forward before it")
        return self.gradient

    def measure(self, prediction: Any, target: Any) -> Any:
        """prediction, target (N, K) that have passed the gate -> ℓ (N,); keeps the gradient for `backward`."""
        rows, columns = prediction.shape
        scale = {"mean": 1 / rows, "sum": self.per_sample(columns), "none": 1.0}[self.reduction]
        losses, self.gradient = self.kernel(prediction, target, scale)
        return losses

    def per_sample(self, columns: int) -> float:
        """The factor by which ℓₙ is multiplied before it is added to the sum over samples."""
        return float(columns) if self.over_outputs and self.reduction == "sum" else 1.0

    def reduce(self, losses: Any, columns: int) -> float:
        """ℓ (N,) -> one number, summed in float64."""
        total = float(losses.sum(dtype=np.float64))
        return total * self.per_sample(columns) if self.reduction == "sum" else total / len(losses)

    def predictions(self, outputs: Any) -> Any:
        """The predictions (N, K) for a network's outputs (N, K): the same numbers, or the probabilities of logits."""
        if not (self.from_logits and self.link):
            return outputs
        return self._link_layer().forward(outputs)

    def _link_layer(self) -> Activation:
        layer = (self.link or Identity)()
        layer.attach(self.ops, {})
        return layer

    def on(self, ops: Ops) -> Loss:
        """The same loss with these kernels; this one is left as it is."""
        twin = twin_of(self, without=("gradient",))
        twin.ops, twin.gradient = ops, None
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: neither the kernels, which belong to this process, nor the last forward's gradient."""
        return vars(self) | {"ops": None, "gradient": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, ops=state["backend"].ops)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class MSE(Loss):
    """Mean squared error: ℓₙ = 1/K Σₖ (p − t)²; dℓ/dp = 2 (p − t) / K (Gauss 1809).

    >>> loss = nl.MSE()
    >>> loss.forward([[0.0, 0.0]], [[1.0, 3.0]]), loss.backward()
    (5.0, array([[-1., -3.]]))
    """

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        return self.ops.mse(prediction, target, scale)


class HalfMSE(Loss):
    """Half the mean squared error: ℓₙ = 1/2K Σₖ (p − t)²; dℓ/dp = (p − t) / K, without the factor 2."""

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        return self.ops.half_mse(prediction, target, scale)


class MAE(Loss):
    """Mean absolute error: ℓₙ = 1/K Σₖ |p − t|; dℓ/dp = sign(p − t) / K, or 0 where p = t.

    Outliers move it less than MSE.
    """

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        return self.ops.mae(prediction, target, scale)


class _CrossEntropy(Loss):
    """Losses on probabilities. With from_logits=True they take logits instead, and are stable for all of them."""

    def __init__(self, from_logits: bool = False, reduction: str = "mean", *, device: str = "numpy") -> None:
        super().__init__(reduction, device=device)
        self.from_logits = bool(from_logits)


class BinaryCrossEntropy(_CrossEntropy):
    """For yes-or-no outputs: ℓₙ = −1/K Σₖ t ln p + (1 − t) ln(1 − p); dℓ/dp = (p − t) / (p (1 − p) K).

    From logits z, p = sigmoid(z): ℓₙ = 1/K Σₖ max(z, 0) − z t + ln(1 + e^−|z|); dℓ/dz = (p − t) / K. Targets 0 … 1.
    """

    target, link = "probability", Sigmoid

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        if self.from_logits:
            return self.ops.sigmoid_binary_cross_entropy(prediction, target, scale)
        return self.ops.binary_cross_entropy(prediction, target, scale)


class CategoricalCrossEntropy(_CrossEntropy):
    """For one class out of K: ℓₙ = −Σₖ t ln p; dℓ/dp = −t / p. Targets are labels (N,) or rows (N, K) that sum to 1.

    From logits z, p = softmax(z): ℓₙ = ln Σⱼ e^zⱼ − Σₖ t z; dℓ/dz = p − t.
    """

    target, over_outputs, link = "class", False, Softmax

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        if self.from_logits:
            return self.ops.softmax_cross_entropy(prediction, target, scale)
        return self.ops.categorical_cross_entropy(prediction, target, scale)


LOSSES: dict[str, type[Loss]] = {
    "mse": MSE,
    "half_mse": HalfMSE,
    "mae": MAE,
    "bce": BinaryCrossEntropy,
    "cce": CategoricalCrossEntropy,
}


def loss(name: str) -> Loss:
    """A new loss by its lower-case name; ValueError for a name that is not in LOSSES."""
    return choose(LOSSES, name, "loss")()
