"""What all losses share: how far a prediction is from its target, and the gradient of that distance, from one pass.

ℓₙ is the loss of sample n: a mean over its K outputs, except for losses on classes, which sum over classes. `reduction`
is "mean" over samples (and outputs), "sum" over both, or "none", which returns ℓ (N,) as it is. The gradient for "none"
is the gradient of Σ ℓₙ. With ignore_nan=True, a target of NaN was not measured: it adds nothing to ℓₙ, and the mean is
over those that were.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .activation import Activation
from .arguments import shown
from .attaching import call, kernel_named
from .devices import Kernel, Ops, get_device
from .elsewhere import LOSS, Answering, not_called
from .gate import finite, numeric, one_of, targets
from .twins import twin_of


class Loss(Answering):
    """The base class of all losses. A new loss names its kernel, whose plain numbers after `scale` are its attributes.

    Or it writes `kernel` itself, which returns ℓ (N,) and scale · dℓ/dprediction (N, K); `scale` is a number such as
    1/N for a mean over N rows. Unless `over_outputs` is False, ℓₙ is a mean over the K outputs.
    """

    _arguments = LOSS
    formula: str | Kernel = ""
    formula_from_logits: str | Kernel = ""
    target = "real"  # "real", "probability" (0 … 1), "class" (labels or rows that sum to 1), "side" (−1, +1), "count"
    over_outputs = True  # whether ℓₙ is a mean over the outputs
    link: type[Activation] | None = None  # the output activation that `from_logits` computes inside
    from_logits = False
    argument = "from_logits"  # what the class's own `__init__` calls `from_logits`
    fused = False  # whether a Trainer has taken the network's last activation into it
    absent = absent_logit = (0.0, 0.0)  # a prediction and a target between which the loss is 0
    __call__ = not_called("loss.forward(prediction, target), and then loss.backward()")

    def __init__(self, reduction: str = "mean", *, ignore_nan: bool = False, device: str = "numpy") -> None:
        self.reduction = one_of(reduction, ("mean", "sum", "none"), "reduction")
        self.ignore_nan = bool(ignore_nan)
        self.backend = get_device(device)  # the device, for a loss that is used by itself
        self.ops: Ops = self.backend.ops
        self.gradient: Any = None  # (N, K), of the last forward
        self.known: Any = None  # (N,), the share of each row's targets that were measured, of the last forward

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        """prediction (N, K), target (N, K) -> ℓ (N,), scale · dℓ/dprediction (N, K)."""
        formula = self.formula_from_logits if self.from_logits else self.formula
        if not formula:
            raise NotImplementedError(
                f"{type(self).__name__} has no kernel: write kernel(self, prediction, target, scale), which returns "
                "ℓ (N,) and scale · dℓ/dprediction (N, K), or name one as its `formula`"
            )
        return call(self, kernel_named(formula), prediction, target, scale=scale)

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
        most = 1 + 1e-6 if self.link and self.link.probabilities else np.inf
        if self.link and not self.from_logits and ((p < 0) | (p > most)).any():
            raise ValueError(
                f"prediction has values {'outside 0 … 1' if self.link.probabilities else 'below 0'}, which "
                f"{type(self).__name__} does not expect; for values before the {self.link.__name__} use "
                f"{self.argument}=True"
            )
        t = targets(t, p.shape, self.backend, dtype, self.target, "target", self.ignore_nan)
        losses = self.measure(p, t)
        self.gradient = self.gradient.reshape(shape)
        return losses if self.reduction == "none" else self.reduce(losses, p.shape[1])

    def backward(self) -> Any:
        """The gradient with respect to the prediction, in the shape that the last forward's prediction had."""
        if self.gradient is None:
            raise RuntimeError(f"{type(self).__name__}.backward() needs a forward before it")
        return self.gradient

    def measure(self, prediction: Any, target: Any, row_weights: Any = None) -> Any:
        """prediction, target (N, K) that have passed the gate -> ℓ (N,); keeps the gradient for `backward`.

        With row_weights (N, 2), each ℓₙ is multiplied by the first number, and its gradient by the second one, which
        is the first one divided by the weights of the batch if the loss is a mean (weights.py).
        """
        rows, columns = prediction.shape
        mean = self.reduction == "mean" and row_weights is None  # row weights are shares of the batch already
        scale, target = self.per_sample(columns), self.smoothed(target)
        if self.ignore_nan:
            absent = self.absent_logit if self.from_logits else self.absent
            p, t, self.known = self.ops.leave_out(prediction, target, *absent)
            losses, gradient = self.kernel(p, t, scale)
            gradient = self.ops.leave_out_backward(gradient, target, self.ops.count_known(self.known, mean))
        else:
            losses, gradient = self.kernel(prediction, target, scale / rows if mean else scale)
        if row_weights is not None:
            losses, gradient = self.ops.weigh(losses, gradient, row_weights)
        self.gradient = gradient
        return losses

    def smoothed(self, target: Any) -> Any:
        """The target (N, K) that `kernel` gets; here the same."""
        return target

    def per_sample(self, columns: int) -> float:
        """The factor by which ℓₙ is multiplied before it is added to the sum over samples."""
        return float(columns) if self.over_outputs and self.reduction == "sum" else 1.0

    def reduce(self, losses: Any, columns: int) -> float:
        """ℓ (N,) -> one number, summed in float64."""
        total = float(losses.sum(dtype=np.float64))
        if self.reduction == "sum":
            return total * self.per_sample(columns)
        return total / (float(self.known.sum(dtype=np.float64)) if self.ignore_nan else len(losses))

    def predictions(self, outputs: Any) -> Any:
        """The predictions (N, K) for a network's outputs (N, K): the same numbers, or the probabilities of logits."""
        if not (self.from_logits and self.link):
            return outputs
        layer = self.link()
        layer.attach(self.ops, {})
        return layer.forward(outputs)

    def on(self, ops: Ops) -> Loss:
        """The same loss with these kernels; this one is left as it is."""
        twin = twin_of(self, without=("gradient", "known"))
        twin.ops, twin.gradient, twin.known = ops, None, None
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: neither the kernels, which belong to this process, nor the last forward's arrays."""
        return vars(self) | {"ops": None, "gradient": None, "known": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, ops=state["backend"].ops)

    def apart(self) -> Loss:
        """The loss as its user wrote it, without the activation that a Trainer has taken into it."""
        if not self.fused:
            return self
        plain = copy.copy(self)
        plain.from_logits, plain.fused = False, False
        vars(plain).pop("link", None)
        return plain

    def __repr__(self) -> str:
        return shown(self.apart())


class MSE(Loss):
    """Mean squared error: ℓₙ = 1/K Σₖ (p − t)²; dℓ/dp = 2 (p − t) / K (Gauss 1809).

    >>> loss = nl.MSE()
    >>> loss.forward([[0.0, 0.0]], [[1.0, 3.0]]), loss.backward()
    (5.0, array([[-1., -3.]]))
    """

    formula = "mse"
