"""Losses: values, gradients, reductions, the numbers at the edges, and PyTorch as a second opinion."""

import math

import numpy as np
import pytest
from helpers import to_numpy

import nnlite as nl
from nnlite.losses import LOSSES

P = np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])  # (4, 3)
T = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # (4, 3)


def make(name, device="numpy", **options):
    """A loss by name, where "cce from logits" stands for CategoricalCrossEntropy(from_logits=True)."""
    kind, *rest = name.split()
    given = {"from logits": {"from_logits": True}, "of rates": {"log_input": False}}.get(" ".join(rest), {})
    return LOSSES[kind](device=device, **given, **options)


LOGITS = [f"{name} from logits" for name in ("bce", "cce", "kl", "binary_focal", "categorical_focal")]
NAMES = [*LOSSES, *LOGITS, "poisson of rates"]
SMOOTHED = [*LOGITS, *(name.split()[0] for name in LOGITS)]
OF_CLASSES = [name for name in NAMES if LOSSES[name.split()[0]].target == "class"]


def target_of(name, soft=False):
    """T, or −1 and +1; or else probabilities that are neither 0 nor 1."""
    sides = LOSSES[name.split()[0]].target == "side"
    return 2 * T - 1 if sides else (T * 0.73 + 0.09) if soft else T


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_values_derivative(name, reduction, soft, device, rng):
    loss = make(name, device, reduction=reduction)
    u = rng.standard_normal(P.shape)
    h, t = 1e-7, target_of(name, soft)
    plus, minus = (np.sum(to_numpy(loss.forward(P + s * h * u, t))) for s in (1, -1))
    loss.forward(P, t)
    slope = (to_numpy(loss.backward()) * u).sum()
    np.testing.assert_allclose((plus - minus) / (2 * h), slope, rtol=1e-6, atol=1e-8)


def test_values_by_their_formulas(device):
    value = {name: make(name, device).forward(P, target_of(name)) for name in NAMES}
    error, log_softmax = P - T, P - np.log(np.exp(P).sum(axis=1, keepdims=True))
    sigmoid, margin = 1 / (1 + np.exp(-P)), np.maximum(0, 1 - (2 * T - 1) * P)
    wrong = np.where(T == 1, 1 - P, P)
    entropies = -(T * np.log(P) + (1 - T) * np.log(1 - P))
    expected = {
        "mse": (error**2).mean(),
        "half_mse": (error**2).mean() / 2,
        "mae": np.abs(error).mean(),
        "huber": (error**2 / 2).mean(),
        "log_cosh": np.log(np.cosh(error)).mean(),
        "quantile": np.abs(error).mean() / 2,
        "hinge": margin.mean(),
        "squared_hinge": (margin**2).mean(),
        "poisson": (np.exp(P) - T * P).mean(),
        "poisson of rates": (P - T * np.log(P + 1e-8)).mean(),
        "bce": entropies.mean(),
        "cce": -(T * np.log(P)).sum(axis=1).mean(),
        "kl": -(T * np.log(P)).sum(axis=1).mean(),
        "binary_focal": (wrong**2 * entropies).mean(),
        "categorical_focal": -(T * (1 - P) ** 2 * np.log(P)).sum(axis=1).mean(),
        "bce from logits": (np.log(1 + np.exp(P)) - T * P).mean(),
        "cce from logits": -(T * log_softmax).sum(axis=1).mean(),
        "kl from logits": -(T * log_softmax).sum(axis=1).mean(),
        "binary_focal from logits": (np.abs(sigmoid - T) ** 2 * (np.log(1 + np.exp(P)) - T * P)).mean(),
        "categorical_focal from logits": -(T * (1 - np.exp(log_softmax)) ** 2 * log_softmax).sum(axis=1).mean(),
    }
    assert value == pytest.approx(expected, rel=1e-13)


def test_arguments_of_losses(device):
    t, p, far = np.zeros((1, 3)), np.array([[0.5, 1.5, -4.0]]), np.array([[-1.0, 1.0, 3.0]])
    assert nl.Huber(0.7, device=device).forward(p, t) == pytest.approx((0.125 + 0.7 * 1.15 + 0.7 * 3.65) / 3)
    assert nl.Quantile(0.9, device=device).forward(p, t) == pytest.approx((0.05 + 0.15 + 3.6) / 3)
    assert nl.LogCosh(device=device).forward(1e4 * p, t) == pytest.approx(1e4 * 2 - math.log(2))
    sure = nl.BinaryFocal(gamma=0, alpha=0.75, from_logits=True, device=device).forward(far, [[1, 1, 0]])
    each = np.log(1 + np.exp([1, -1, 3])) * [0.75, 0.75, 0.25]
    assert sure == pytest.approx(each.mean(), rel=1e-13)
    for focal, plain in ((nl.BinaryFocal, nl.BinaryCrossEntropy), (nl.CategoricalFocal, nl.CategoricalCrossEntropy)):
        assert focal(gamma=0, device=device).forward(P, T) == pytest.approx(plain(device=device).forward(P, T))
    assert "delta=0.7" in repr(nl.Huber(0.7)) and "q=0.9" in repr(nl.Quantile(0.9))
    for wrong in (
        lambda: nl.Huber(0),
        lambda: nl.Quantile(1),
        lambda: nl.BinaryFocal(-1),
        lambda: nl.BinaryFocal(2, 1),
    ):
        with pytest.raises(ValueError, match="must be finite and"):
            wrong()


@pytest.mark.parametrize("name", NAMES)
def test_reductions(name, device):
    t = target_of(name)
    each = to_numpy(make(name, device, reduction="none").forward(P, t))  # (4,)
    assert each.shape == (4,)
    assert make(name, device).forward(P, t) == pytest.approx(each.mean(), rel=1e-13)
    outputs = 1 if name in OF_CLASSES else 3
    assert make(name, device, reduction="sum").forward(P, t) == pytest.approx(each.sum() * outputs, rel=1e-13)


def test_mse_of_the_seed_article(device):
    """Its MSE_loss is the sum over samples of the mean over outputs."""
    assert np.sum(to_numpy(nl.MSE("none", device=device).forward(P, T))) == pytest.approx((((P - T) ** 2) / 3).sum())


def test_labels_equal_one_hot(device):
    for name in OF_CLASSES:
        assert make(name, device).forward(P, [1, 0, 2, 0]) == make(name, device).forward(P, T)
        assert make(name, device).forward(P, np.array([1.0, 0.0, 2.0, 0.0])) == make(name, device).forward(P, T)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("height", [0.0, 1e8, -1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_logits_give_ln_k(classes, height, dtype, device):
    loss = nl.CategoricalCrossEntropy(from_logits=True, device=device)
    logits = np.full((3, classes), height, dtype)
    assert loss.forward(logits, [0, 1, 1]) == pytest.approx(math.log(classes), rel=1e-6)
    gradient = to_numpy(loss.backward())
    np.testing.assert_allclose(gradient[0, 0], (1 / classes - 1) / 3, rtol=1e-6)


def test_binary_cross_entropy_at_the_edges(device):
    from_logits = nl.BinaryCrossEntropy(from_logits=True, device=device)
    assert from_logits.forward([[1000.0]], [[0.0]]) == 1000
    assert from_logits.forward([[-1000.0]], [[1.0]]) == 1000
    assert from_logits.forward([[1000.0]], [[1.0]]) == 0
    assert abs(to_numpy(from_logits.backward())[0, 0]) == 0
    for dtype in (np.float32, np.float64):
        loss = nl.BinaryCrossEntropy(device=device)
        assert loss.forward(dtype([[0.0, 1.0]]), [[0.0, 1.0]]) == 0
        assert loss.forward(dtype([[0.0, 1.0]]), [[1.0, 0.0]]) == pytest.approx(100)
        assert np.isfinite(to_numpy(loss.backward())).all()
        loss = nl.CategoricalCrossEntropy(device=device)
        assert 80 < loss.forward(dtype([[0.0, 1.0]]), [[1.0, 0.0]]) < 800
        assert np.isfinite(to_numpy(loss.backward())).all()


def test_slope_of_absolute_error_at_zero_is_zero(device):
    loss = nl.MAE(device=device)
    loss.forward([[1.0, 2.0]], [[1.0, 0.0]])
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[0.0, 0.5]])


def test_gradient_from_logits_is_p_minus_t(device):
    loss = nl.CategoricalCrossEntropy(from_logits=True, reduction="sum", device=device)
    loss.forward(P, T)
    softmax = np.exp(P) / np.exp(P).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(to_numpy(loss.backward()), softmax - T, rtol=1e-13)


def test_one_dimensional_predictions(device):
    loss = nl.MSE(device=device)
    assert loss.forward([1.0, 2.0], [0.0, 0.0]) == 2.5
    assert loss.backward().shape == (2,)


def test_long_sums_keep_their_digits(device):
    n = 300_000
    p = np.full((n, 1), 0.1, np.float32)
    assert nl.MAE(device=device).forward(p, np.zeros((n, 1), np.float32)) == pytest.approx(
        float(np.float32(0.1)), rel=1e-7
    )


def test_what_does_not_fit_is_refused(device):
    mse, cce, bce = (kind(device=device) for kind in (nl.MSE, nl.CategoricalCrossEntropy, nl.BinaryCrossEntropy))
    for prediction, target in (
        (np.zeros((4, 1)), np.zeros(4)),
        (np.zeros(4), np.zeros((4, 1))),
        (P, T[:3]),
        (P, T[:, :2]),
    ):
        with pytest.raises(ValueError, match="they must be the same") as error:
            mse.forward(prediction, target)
        assert str(prediction.shape) in str(error.value) and str(target.shape) in str(error.value)
    with pytest.raises(ValueError, match=r"target has the label 3 in row 1; labels are whole numbers 0 … 2"):
        cce.forward(P, [0, 3, 1, 1])
    with pytest.raises(ValueError, match="in row 2, which does not sum to 1"):
        cce.forward(P, np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="in row 0, outside 0 … 1"):
        bce.forward([[0.5]], [[1.5]])
    with pytest.raises(ValueError, match="use from_logits=True"):
        bce.forward([[3.0]], [[1.0]])
    with pytest.raises(ValueError, match="prediction contains NaN at row 0, column 1"):
        mse.forward([[0.0, np.nan]], [[0.0, 0.0]])
    with pytest.raises(ValueError, match="prediction has shape"):
        mse.forward(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)))
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        nl.MSE(device=device).backward()
    with pytest.raises(ValueError, match="reduction='average' is not known; choose one of 'mean', 'sum', 'none'"):
        nl.MSE("average")


def oracles(functional):
    """PyTorch's losses, and formulas for its automatic differentiation where it has none."""

    def reduced(values, reduction):
        return values.mean() if reduction == "mean" else values.sum()

    def by_row(values, reduction):
        return reduced(values.sum(1), reduction)

    def focal(p, t, reduction):
        c = functional.binary_cross_entropy(p, t, reduction="none")
        return reduced((p + t - 2 * p * t) ** 2 * c, reduction)

    def categorical_focal(p, t, reduction):
        return by_row(-t * (1 - p) ** 2 * p.log(), reduction)

    def kl(log_p, t, reduction):
        return functional.kl_div(log_p, t, reduction={"mean": "batchmean"}.get(reduction, reduction))

    def log_cosh(p, t, reduction):
        return reduced((p - t).cosh().log(), reduction)

    def log_softmax(z):
        return functional.log_softmax(z, 1)

    return {
        "mse": functional.mse_loss,
        "half_mse": lambda p, t, reduction: functional.mse_loss(p, t, reduction=reduction) / 2,
        "mae": functional.l1_loss,
        "huber": functional.huber_loss,
        "log_cosh": log_cosh,
        "quantile": lambda p, t, reduction: functional.l1_loss(p, t, reduction=reduction) / 2,
        "hinge": lambda p, t, reduction: reduced((1 - t * p).clamp(min=0), reduction),
        "squared_hinge": lambda p, t, reduction: reduced((1 - t * p).clamp(min=0) ** 2, reduction),
        "poisson": functional.poisson_nll_loss,
        "poisson of rates": lambda p, t, reduction: functional.poisson_nll_loss(p, t, False, reduction=reduction),
        "bce": functional.binary_cross_entropy,
        "bce from logits": functional.binary_cross_entropy_with_logits,
        "cce": lambda p, t, reduction: functional.nll_loss(p.log(), t.argmax(1), reduction=reduction),
        "cce from logits": functional.cross_entropy,
        "kl": lambda p, t, reduction: kl(p.log(), t, reduction),
        "kl from logits": lambda z, t, reduction: kl(log_softmax(z), t, reduction),
        "binary_focal": focal,
        "binary_focal from logits": lambda z, t, reduction: focal(z.sigmoid(), t, reduction),
        "categorical_focal": categorical_focal,
        "categorical_focal from logits": lambda z, t, reduction: categorical_focal(z.softmax(1), t, reduction),
    }


@pytest.mark.parametrize(("dtype", "exact"), [("float32", 1e-6), ("float64", 1e-14)])
def test_log_cosh_keeps_the_digits_of_small_errors(dtype, exact, device):
    """ln cosh e = e²/2 − e⁴/12 …, where |e| + ln(1 + e^−2|e|) − ln 2 would be 0 for 1e-4 in float32."""
    loss = nl.LogCosh(device=device)
    for e in (1e-2, 1e-3, 1e-4, 1e-8, 0.49999, 0.5, 0.50001, 3.0, 300.0):
        series = e**2 / 2 - e**4 / 12 + e**6 / 45 - 17 * e**8 / 2520
        expected = series if e < 0.1 else np.log(np.cosh(e))
        assert loss.forward(np.array([[e]], dtype), np.zeros((1, 1), dtype)) == pytest.approx(expected, rel=exact), e


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_pytorch(name, reduction, device):
    torch = pytest.importorskip("torch")
    oracle, t = oracles(torch.nn.functional)[name], target_of(name)
    p = torch.tensor(P, requires_grad=True)
    value = oracle(p, torch.tensor(t), reduction=reduction)
    value.backward()
    loss = make(name, device, reduction=reduction)
    assert loss.forward(P, t) == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(to_numpy(loss.backward()), p.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_equals_pytorch(smoothing, device):
    torch = pytest.importorskip("torch")
    z = torch.tensor(P, requires_grad=True)
    value = torch.nn.functional.cross_entropy(z, torch.tensor(T), label_smoothing=smoothing)
    value.backward()
    loss = nl.CategoricalCrossEntropy(from_logits=True, label_smoothing=smoothing, device=device)
    assert loss.forward(P, [1, 0, 2, 0]) == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(to_numpy(loss.backward()), z.grad.numpy(), rtol=1e-12)


def test_label_smoothing_moves_the_targets(device):
    for name in SMOOTHED:
        middle = 1 / 3 if name in OF_CLASSES else 1 / 2
        smooth, plain = make(name, device, label_smoothing=0.2), make(name, device)
        assert smooth.forward(P, T) == pytest.approx(plain.forward(P, 0.8 * T + 0.2 * middle), rel=1e-12), name
    with pytest.raises(ValueError, match="label_smoothing must be finite and at least 0 and below 1, not 1"):
        nl.BinaryCrossEntropy(label_smoothing=1)


# ---- targets that were not measured --------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "smoothing"), [*((name, 0.0) for name in NAMES), *((name, 0.1) for name in SMOOTHED)])
def test_what_was_not_measured_adds_nothing(name, smoothing, reduction, device):
    """The loss and its gradient are those of the measured targets alone."""
    options = {"reduction": reduction} | ({"label_smoothing": smoothing} if smoothing else {})
    target = target_of(name).copy()
    target[1] = np.nan
    if name not in OF_CLASSES:
        target[2, 1:] = target[3, 0] = np.nan
    known = ~np.isnan(target)  # (4, 3)
    loss = make(name, device, ignore_nan=True, **options)
    value, gradient = loss.forward(P, target), to_numpy(loss.backward())
    alone = make(name, device, **options)
    if name in OF_CLASSES:
        expected = alone.forward(P[known.all(axis=1)], target[known.all(axis=1)])
        where = known.all(axis=1)
    else:
        expected = alone.forward(P[known][:, None], target[known][:, None])  # each output a row of its own
        where = known
    slope = to_numpy(alone.backward()).reshape(gradient[where].shape)
    if reduction == "none":
        value, expected = to_numpy(value).sum(), np.sum(to_numpy(expected)) / (1 if name in OF_CLASSES else 3)
        slope = slope if name in OF_CLASSES else slope / 3
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(gradient[where], slope, rtol=1e-12, atol=1e-16)
    np.testing.assert_array_equal(gradient[~known], 0)


def test_targets_of_nan_are_refused_unless_asked_for(device):
    for target in ([[0.0, np.nan]], [[np.nan, np.nan]]):
        with pytest.raises(ValueError, match="target contains NaN at row 0"):
            nl.MSE(device=device).forward([[0.0, 0.0]], target)
    loss = nl.MSE(ignore_nan=True, device=device)
    with pytest.raises(ValueError, match="target has no number that was measured"):
        loss.forward([[0.0, 0.0]], [[np.nan, np.nan]])
    with pytest.raises(ValueError, match="target contains infinity at row 0, column 1"):
        loss.forward([[0.0, 0.0]], [[np.nan, np.inf]])
    with pytest.raises(ValueError, match="of which only a part is NaN"):
        nl.CategoricalCrossEntropy(ignore_nan=True, device=device).forward(P[:1], [[np.nan, 1.0, 0.0]])
    value = nl.CategoricalCrossEntropy(ignore_nan=True, device=device).forward(P, [1, np.nan, 2, 0])
    assert value == pytest.approx(-np.log([0.5, 0.8, 0.3]).mean())


# ---- a loss from one formula ---------------------------------------------------------------------------------------


def test_a_function_in_the_place_of_a_loss_is_told_what_a_kernel_is():
    def fourth(pred, truth):
        return ((pred - truth) ** 4).mean()

    net = nl.mlp([2, 3, 1], device="numpy")
    with pytest.raises(TypeError) as caught:
        nl.Trainer(net, fourth)
    line = str(caught.value).rpartition("gradient (N, K): ")[2]
    assert line == 'nl.kernel("pred (N,K), truth (N,K) -> losses (N), dpred (N,K)")(fourth)'
    with pytest.raises(ValueError, match=r"fourth must return a tuple \(losses, dpred\)"):
        nl.Trainer(net, eval(line, {"nl": nl, "fourth": fourth})).fit(np.ones((4, 2)), np.ones(4), progress=False)
    with pytest.raises(TypeError, match=r'nl.kernel\("prediction \(N,K\), target'):
        nl.Trainer(net, max)


@nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
def fourth_power(p, t):
    """ℓₙ = Σₖ (p − t)⁴."""
    e = p - t
    return (e * e * e * e).sum(axis=1), 4 * e * e * e


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_kernel_is_a_loss(reduction, device):
    loss = nl.losses.OwnLoss(fourth_power, reduction=reduction, device=device)
    each = ((P - T) ** 4).sum(axis=1)
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    np.testing.assert_allclose(to_numpy(loss.forward(P, T)), expected, rtol=1e-13)
    np.testing.assert_allclose(
        to_numpy(loss.backward()), 4 * (P - T) ** 3 / (4 if reduction == "mean" else 1), rtol=1e-13
    )


def test_a_kernel_of_another_form_is_no_loss():
    @nl.kernel("p (N,K), t (N,K) -> losses (N)")
    def without_gradient(p, t):
        return ((p - t) ** 2).sum(axis=1)

    with pytest.raises(ValueError, match=r"a loss is .prediction \(N,K\), target \(N,K\) -> losses \(N\), dprediction"):
        nl.losses.loss(without_gradient)


# ---- names from elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("mean_squared_error", nl.MSE),
        ("MSELoss", nl.MSE),
        ("crossentropy", nl.CategoricalCrossEntropy),
        ("categorical_crossentropy", nl.CategoricalCrossEntropy),
        ("sparse_categorical_crossentropy", nl.CategoricalCrossEntropy),
        ("binary_crossentropy", nl.BinaryCrossEntropy),
        ("smooth_l1", nl.Huber),
        ("LogCosh", nl.LogCosh),
        ("kullback_leibler_divergence", nl.KLDivergence),
    ],
)
def test_names_from_elsewhere_are_understood(name, ours):
    assert type(nl.losses.loss(name)) is ours


@pytest.mark.parametrize("name", nl.elsewhere.LOSSES)
def test_names_from_elsewhere_are_understood_or_answered(name):
    meant = nl.elsewhere.LOSSES[name]
    assert name not in LOSSES and name.isalnum() and name.islower()
    if meant in LOSSES:
        assert type(nl.losses.loss(name)) is LOSSES[meant]
    else:
        with pytest.raises(ValueError, match=r"^loss='.*' is not known: it is .*choose one of 'mse'"):
            nl.losses.loss(name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_and_small_logits_in_one_row(dtype, device):
    """No sum may be reordered so that a large logit swallows a small one's loss."""
    loss = nl.BinaryCrossEntropy(from_logits=True, reduction="sum", device=device)
    z, t = dtype([[1e8, 0.5, -1e8, 0.25, 1e8]]), dtype([[1, 0, 0, 1, 1]])
    expected = math.log(1 + math.exp(0.5)) + math.log(1 + math.exp(-0.25))
    assert loss.forward(z, t) == pytest.approx(expected, rel=1e-6)


@nl.kernel("p (N,K), t (N,K), width -> losses (N), dp (N,K)")
def unscaled(p, t, width):
    return np.abs(p - t).sum(axis=1), np.sign(p - t) * width


def test_a_loss_whose_kernel_has_no_scale_is_refused():
    """Its third operand would get the scale in its place, without a word."""

    class Unscaled(nl.Loss):
        formula, width = unscaled, 2.0

    with pytest.raises(
        ValueError, match=r"Unscaled needs a kernel with the operand scale; unscaled has \['p', 't', 'w"
    ):
        Unscaled().forward(np.zeros((2, 1)), np.ones((2, 1)))
