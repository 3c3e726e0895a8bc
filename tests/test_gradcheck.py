"""The gradient checker, checked: right derivatives pass, and one that is wrong by 0.1 % fails and is named."""

import numpy as np
import pytest

import nnlite as nl
from nnlite.activations import ACTIVATIONS


@pytest.fixture
def data(rng):
    return rng.standard_normal((5, 3)), rng.uniform(0.1, 0.9, (5, 4))


@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["mse", "half_mse", "mae", "huber", "log_cosh", "quantile"])
def test_every_activation_and_loss(output, loss, device, data):
    net = nl.mlp([3, 7, 4], hidden="tanh", output=output, device=device)
    report = nl.check_gradients(net, loss, *data)
    assert report.ok, str(report)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropies(reduction, device, data):
    x, y = data
    for loss, output, target in (
        (nl.BinaryCrossEntropy(reduction=reduction), "sigmoid", y),
        (nl.BinaryCrossEntropy(reduction=reduction), "tanh_offset", y),
        (nl.CategoricalCrossEntropy(reduction=reduction), "softmax", [0, 3, 1, 1, 2]),
        (nl.CategoricalCrossEntropy(from_logits=True, reduction=reduction), "identity", [0, 3, 1, 1, 2]),
        (nl.CategoricalCrossEntropy(reduction=reduction), "log_softmax", [0, 3, 1, 1, 2]),
        (nl.CategoricalCrossEntropy(reduction=reduction, label_smoothing=0.1), "softmax", [0, 3, 1, 1, 2]),
        (nl.CategoricalCrossEntropy(reduction=reduction, ignore_nan=True), "softmax", [0, 3, np.nan, 1, 2]),
        (nl.BinaryCrossEntropy(reduction=reduction, ignore_nan=True), "sigmoid", np.where(y > 0.6, np.nan, y)),
        (nl.KLDivergence(reduction=reduction), "softmax", y / y.sum(axis=1, keepdims=True)),
        (nl.BinaryFocal(alpha=0.3, reduction=reduction), "sigmoid", y),
        (nl.BinaryFocal(reduction=reduction), "tanh_offset", y),
        (nl.CategoricalFocal(reduction=reduction), "softmax", [0, 3, 1, 1, 2]),
        (nl.CategoricalFocal(reduction=reduction), "log_softmax", [0, 3, 1, 1, 2]),
        (nl.Hinge(reduction=reduction), "identity", np.sign(y - 0.5)),
        (nl.SquaredHinge(reduction=reduction), "tanh", [0, 3, 1, 1, 2]),
        (nl.Poisson(reduction=reduction), "identity", [0, 3, 1, 1, 2]),
        (nl.Poisson(log_input=False, reduction=reduction), "exponential", np.round(5 * y)),
        (nl.Poisson(log_input=False, reduction=reduction), "softplus", np.round(5 * y)),
    ):
        report = nl.check_gradients(nl.mlp([3, 4], output=output, device=device), loss, x, target)
        assert report.ok, str(report)
    # Not fused with its Softmax, since another layer is behind that.
    net = nl.Sequential(nl.Dense(3, 4), nl.Softmax(), nl.Dropout(0.5), device=device)
    loss = nl.CategoricalCrossEntropy(reduction=reduction)
    report = nl.check_gradients(net, loss, x, y / y.sum(axis=1, keepdims=True))
    assert report.ok, str(report)


class WrongTanh(nl.Tanh):
    """Its derivative is too large by one in a thousand."""

    def backward(self, dy):
        return super().backward(dy) * 1.001


class WrongWeights(nl.Dense):
    """Its weights' gradient is too small by one in a thousand."""

    def backward_parameters(self, dy):
        super().backward_parameters(dy)
        self.dW *= 0.999


class WrongInput(nl.Dense):
    """Its gradient by the input is off by one in a thousand; those of its parameters are right."""

    def backward(self, dy):
        return super().backward(dy) * 1.001


@pytest.mark.parametrize(
    ("layers", "wrong"),
    [
        (lambda: (nl.Dense(3, 7), WrongTanh(), nl.Dense(7, 4)), {"x", "0.W", "0.b"}),
        (lambda: (nl.Dense(3, 7), nl.Tanh(), WrongWeights(7, 4)), {"2.W"}),
        (lambda: (WrongWeights(3, 7), nl.Tanh(), nl.Dense(7, 4)), {"0.W"}),
        (lambda: (WrongInput(3, 7), nl.Tanh(), nl.Dense(7, 4)), {"x"}),
    ],
)
def test_a_derivative_wrong_by_a_thousandth_is_caught_and_named(layers, wrong, device, data):
    report = nl.check_gradients(nl.Sequential(*layers(), device=device), "mse", *data)
    assert not report.ok
    assert {check.name for check in report.checks if not check.ok} == wrong
    assert repr(report) == str(report) and str(report).count("WRONG") == len(wrong)


def test_a_loss_wrong_by_a_thousandth_is_caught(data):
    class WrongMSE(nl.MSE):
        def kernel(self, prediction, target, scale):
            losses, gradient = super().kernel(prediction, target, scale)
            return losses, gradient * 1.001

    report = nl.check_gradients(nl.mlp([3, 4], device="numpy"), WrongMSE(), *data)
    assert not any(check.ok for check in report.checks)


def test_the_network_is_left_alone(data):
    net = nl.mlp([3, 4], device="numpy")
    before = net.state_dict()
    nl.check_gradients(net, "mse", *data)
    assert net.dtype == np.float32 and not net.gradients.any()
    assert all((net.state_dict()[name] == value).all() for name, value in before.items())
