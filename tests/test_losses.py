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
    return LOSSES[kind](device=device, **({"from_logits": True} if rest else {}), **options)


NAMES = [*LOSSES, "bce from logits", "cce from logits"]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_values_derivative(name, reduction, device, rng):
    loss = make(name, device, reduction=reduction)
    u = rng.standard_normal(P.shape)
    h = 1e-7
    plus, minus = (np.sum(to_numpy(loss.forward(P + s * h * u, T))) for s in (1, -1))
    loss.forward(P, T)
    np.testing.assert_allclose((plus - minus) / (2 * h), (to_numpy(loss.backward()) * u).sum(), rtol=1e-6)


def test_values_by_their_formulas(device):
    value = {name: make(name, device).forward(P, T) for name in NAMES}
    log_softmax = P - np.log(np.exp(P).sum(axis=1, keepdims=True))
    assert value["mse"] == pytest.approx(((P - T) ** 2).mean(), rel=1e-14)
    assert value["half_mse"] == pytest.approx(((P - T) ** 2).mean() / 2, rel=1e-14)
    assert value["mae"] == pytest.approx(np.abs(P - T).mean(), rel=1e-14)
    assert value["bce"] == pytest.approx(-(T * np.log(P) + (1 - T) * np.log(1 - P)).mean(), rel=1e-14)
    assert value["cce"] == pytest.approx(-(T * np.log(P)).sum(axis=1).mean(), rel=1e-14)
    assert value["cce from logits"] == pytest.approx(-(T * log_softmax).sum(axis=1).mean(), rel=1e-14)
    assert value["bce from logits"] == pytest.approx((np.log(1 + np.exp(P)) - T * P).mean(), rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_reductions(name, device):
    each = to_numpy(make(name, device, reduction="none").forward(P, T))  # (4,)
    assert each.shape == (4,)
    assert make(name, device).forward(P, T) == pytest.approx(each.mean(), rel=1e-13)
    outputs = 1 if name.startswith("cce") else 3
    assert make(name, device, reduction="sum").forward(P, T) == pytest.approx(each.sum() * outputs, rel=1e-13)


def test_mse_of_the_seed_article(device):
    """Its MSE_loss is the sum over samples of the mean over outputs."""
    assert np.sum(to_numpy(nl.MSE("none", device=device).forward(P, T))) == pytest.approx((((P - T) ** 2) / 3).sum())


def test_labels_equal_one_hot(device):
    for name in ("cce", "cce from logits"):
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


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_pytorch(name, reduction, device):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    oracle = {
        "mse": functional.mse_loss,
        "half_mse": lambda p, t, reduction: functional.mse_loss(p, t, reduction=reduction) / 2,
        "mae": functional.l1_loss,
        "bce": functional.binary_cross_entropy,
        "bce from logits": functional.binary_cross_entropy_with_logits,
        "cce": lambda p, t, reduction: functional.nll_loss(p.log(), t.argmax(1), reduction=reduction),
        "cce from logits": functional.cross_entropy,
    }[name]
    p = torch.tensor(P, requires_grad=True)
    value = oracle(p, torch.tensor(T), reduction=reduction)
    value.backward()
    loss = make(name, device, reduction=reduction)
    assert loss.forward(P, T) == pytest.approx(value.item(), rel=1e-13)
    np.testing.assert_allclose(to_numpy(loss.backward()), p.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_and_small_logits_in_one_row(dtype, device):
    """No sum may be reordered so that a large logit swallows a small one's loss."""
    loss = nl.BinaryCrossEntropy(from_logits=True, reduction="sum", device=device)
    z, t = dtype([[1e8, 0.5, -1e8, 0.25, 1e8]]), dtype([[1, 0, 0, 1, 1]])
    expected = math.log(1 + math.exp(0.5)) + math.log(1 + math.exp(-0.25))
    assert loss.forward(z, t) == pytest.approx(expected, rel=1e-6)
