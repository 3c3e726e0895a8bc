"""All losses but the first, each with its formula and its gradient; and the names of all of them."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, TypedDict

from . import elsewhere
from .activations import Exponential, Sigmoid, Softmax
from .devices import Kernel, kernel_of
from .gate import choose, number
from .loss import MSE, Loss

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Options(TypedDict, total=False):
    """The arguments that every loss has."""

    reduction: str
    ignore_nan: bool
    device: str


# ---- distances between numbers -------------------------------------------------------------------------------------


class HalfMSE(Loss):
    """Half the mean squared error: ℓₙ = 1/2K Σₖ (p − t)²; dℓ/dp = (p − t) / K, without the factor 2."""

    formula = "half_mse"


class MAE(Loss):
    """Mean absolute error: ℓₙ = 1/K Σₖ |p − t|; dℓ/dp = sign(p − t) / K, or 0 where p = t.

    Outliers move it less than MSE.
    """

    formula = "mae"


class Huber(Loss):
    """Squared near the target, absolute far from it (Huber 1964): with e = p − t, ℓₙ = 1/K Σₖ e²/2 where |e| ≤ delta,
    else delta (|e| − delta/2); dℓ/dp = e / K, with e cut off at ±delta.

    >>> nl.Huber(delta=1.0).forward([[0.5, 3.0]], [[0.0, 0.0]])
    1.3125
    """

    formula = "huber"

    def __init__(self, delta: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.delta = number(delta, "delta", above=0)


class LogCosh(Loss):
    """A smooth MAE: ℓₙ = 1/K Σₖ ln cosh(p − t); dℓ/dp = tanh(p − t) / K."""

    formula = "log_cosh"


class Quantile(Loss):
    """Its minimum is the quantile q of the targets (Koenker and Bassett 1978): ℓₙ = 1/K Σₖ q (t − p) where t > p, else
    (1 − q) (p − t); dℓ/dp = −q / K or (1 − q) / K, and 0 where p = t.

    With q = 0.9, nine of ten targets lie below a good prediction; q = 0.5 is half of MAE. ValueError unless 0 < q < 1.
    """

    formula = "quantile"

    def __init__(self, q: float = 0.5, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.q = number(q, "q", above=0, below=1)


# ---- sides: two classes as −1 and +1 -------------------------------------------------------------------------------


class Hinge(Loss):
    """For targets −1 and +1, of which p has the sign: ℓₙ = 1/K Σₖ max(0, 1 − t p); dℓ/dp = −t / K where t p < 1.

    The loss of support vector machines (Cortes and Vapnik 1995). A Trainer takes labels (N,) for several outputs, too:
    one against all.
    """

    formula = "hinge"
    target, absent = "side", (2.0, 1.0)


class SquaredHinge(Hinge):
    """The square of Hinge's terms: ℓₙ = 1/K Σₖ max(0, 1 − t p)²; dℓ/dp = −2 t max(0, 1 − t p) / K."""

    formula = "squared_hinge"


# ---- losses that may be computed from the values before the last activation ----------------------------------------


class Poisson(Loss):
    """For counts t, from z, the logarithm of their rate: ℓₙ = 1/K Σₖ e^z − t z; dℓ/dz = (e^z − t) / K.

    With log_input=False from the rate p itself: ℓₙ = 1/K Σₖ p − t ln p; dℓ/dp = (1 − t / p) / K, where 1e-8 is added
    to the p by which t is divided and of which ln is taken. The first is the default of PyTorch's PoissonNLLLoss, the
    second is Keras's Poisson. Both leave out ln t!, so their least is not 0.
    """

    formula, formula_from_logits = "poisson", "exponential_poisson"
    target, link, argument = "count", Exponential, "log_input"
    absent_logit = (-200.0, 0.0)

    def __init__(self, log_input: bool = True, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.from_logits = bool(log_input)

    @property
    def log_input(self) -> bool:
        return self.from_logits


class CrossEntropy(Loss):
    """Losses on probabilities. With from_logits=True they take logits instead, and are stable for all of them.

    `label_smoothing` s moves targets towards the mean: t becomes (1 − s) t + s / K (Szegedy et al. 2016); for yes-or-no
    outputs, K is 2.
    """

    choices = 2  # K of label smoothing; 0 for the number of outputs
    absent_logit = (-200.0, 0.0)

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str = "mean",
        *,
        label_smoothing: float = 0.0,
        ignore_nan: bool = False,
        device: str = "numpy",
    ) -> None:
        super().__init__(reduction, ignore_nan=ignore_nan, device=device)
        self.from_logits = bool(from_logits)
        self.label_smoothing = number(label_smoothing, "label_smoothing", least=0, below=1)

    def smoothed(self, target: Any) -> Any:
        s = self.label_smoothing
        return self.ops.scaled(target, 1 - s, s / (self.choices or target.shape[1])) if s else target


class BinaryCrossEntropy(CrossEntropy):
    """For yes-or-no outputs: ℓₙ = −1/K Σₖ t ln p + (1 − t) ln(1 − p); dℓ/dp = (p − t) / (p (1 − p) K).

    From logits z, p = sigmoid(z): ℓₙ = 1/K Σₖ max(z, 0) − z t + ln(1 + e^−|z|); dℓ/dz = (p − t) / K. Targets 0 … 1.
    """

    formula, formula_from_logits = "binary_cross_entropy", "sigmoid_binary_cross_entropy"
    target, link = "probability", Sigmoid


class CategoricalCrossEntropy(CrossEntropy):
    """For one class out of K: ℓₙ = −Σₖ t ln p; dℓ/dp = −t / p. Targets are labels (N,) or rows (N, K) that sum to 1.

    From logits z, p = softmax(z): ℓₙ = ln Σⱼ e^zⱼ − Σₖ t z; dℓ/dz = p − t.
    """

    formula, formula_from_logits = "categorical_cross_entropy", "softmax_cross_entropy"
    target, over_outputs, link = "class", False, Softmax
    choices = 0


class KLDivergence(CategoricalCrossEntropy):
    """How far probabilities p are from probabilities t: ℓₙ = Σₖ t ln(t / p); dℓ/dp = −t / p, from logits p − t.

    It is the cross-entropy less its least value (Kullback and Leibler 1951).
    """

    formula, formula_from_logits = "kl_divergence", "softmax_kl_divergence"


class BinaryFocal(BinaryCrossEntropy):
    """Binary cross-entropy c in which what is nearly right counts little: ℓₙ = 1/K Σₖ w mᵞ c, where m is the
    probability that p gives to the wrong answer (Lin et al. 2017, "Focal loss for dense object detection").

    w is 1, or with an `alpha` it is alpha for targets of 1 and 1 − alpha for targets of 0. gamma = 0 is cross-entropy.
    """

    formula, formula_from_logits = "binary_focal", "sigmoid_binary_focal"

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        from_logits: bool = False,
        *,
        label_smoothing: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(from_logits, label_smoothing=label_smoothing, **options)
        self.gamma = number(gamma, "gamma", least=0)
        share = 1.0 if alpha is None else number(alpha, "alpha", above=0, below=1)
        self.of_ones, self.of_zeros = share, 1.0 if alpha is None else 1 - share

    @property
    def alpha(self) -> float | None:
        return None if self.of_ones == self.of_zeros == 1.0 else self.of_ones


class CategoricalFocal(CategoricalCrossEntropy):
    """The same for one class out of K: ℓₙ = −Σₖ t (1 − p)ᵞ ln p. It is Keras's without its factor alpha."""

    formula, formula_from_logits = "categorical_focal", "softmax_categorical_focal"

    def __init__(
        self,
        gamma: float = 2.0,
        from_logits: bool = False,
        *,
        label_smoothing: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(from_logits, label_smoothing=label_smoothing, **options)
        self.gamma = number(gamma, "gamma", least=0)


# ---- a loss from a formula of one's own ----------------------------------------------------------------------------


def signature_of(prediction: str = "prediction", target: str = "target") -> str:
    """That of a kernel which is a loss."""
    return f"{prediction} (N,K), {target} (N,K) -> losses (N), d{prediction} (N,K)"


class OwnLoss(Loss):
    """A kernel of your own as a loss: prediction (N, K), target (N, K) -> ℓ (N,), dℓ/dprediction (N, K).

    A Trainer takes the kernel itself in the place of a loss. ValueError for a kernel with another signature.

    >>> @nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
    ... def fourth_power(p, t):
    ...     return ((p - t) ** 4).sum(axis=1), 4 * (p - t) ** 3
    >>> nl.losses.loss(fourth_power).forward([[2.0, 1.0]], [[0.0, 0.0]])
    17.0
    """

    over_outputs = False

    def __init__(self, formula: Kernel, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        signature = kernel_of(formula).signature
        table, shapes = ("N", "K"), [signature.results[name] for name in signature.fresh]
        if [*signature.operands.values()] != [table, table] or shapes != [("N",), table] or signature.in_place:
            raise ValueError(
                f'the kernel {formula.name} has the signature "{signature.text}", a loss is "{signature_of()}"'
            )
        self.formula = formula

    def kernel(self, prediction: Any, target: Any, scale: float) -> tuple[Any, Any]:
        losses, gradient = self.ops.call(kernel_of(self.formula), prediction, target)
        return losses, self.ops.scaled(gradient, scale, 0.0)


LOSSES: dict[str, type[Loss]] = {
    "mse": MSE,
    "half_mse": HalfMSE,
    "mae": MAE,
    "huber": Huber,
    "log_cosh": LogCosh,
    "quantile": Quantile,
    "hinge": Hinge,
    "squared_hinge": SquaredHinge,
    "poisson": Poisson,
    "bce": BinaryCrossEntropy,
    "cce": CategoricalCrossEntropy,
    "kl": KLDivergence,
    "binary_focal": BinaryFocal,
    "categorical_focal": CategoricalFocal,
}


def loss(name: str | Kernel) -> Loss:
    """A new loss by its lower-case name, by its name elsewhere, or from a kernel; ValueError for an unknown name."""
    if isinstance(name, type):
        raise TypeError(f"loss must be a name, a Loss or a kernel, not {name!r}; write {name.__name__}()")
    if inspect.isroutine(name):
        names: list[str] = []
        with contextlib.suppress(ValueError):  # what is not written in Python may not tell its arguments
            names = [*inspect.signature(name).parameters]
        signature = signature_of(*names) if len(names) == 2 else signature_of()
        raise TypeError(
            f"loss must be a name, a Loss or a kernel, not {name!r}; a kernel returns the losses (N,) of the rows, and "
            f'their gradient (N, K): nl.kernel("{signature}")({name.__name__})'
        )
    return OwnLoss(name) if isinstance(name, Kernel) else choose(LOSSES, name, "loss", elsewhere.LOSSES)()
