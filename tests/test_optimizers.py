"""Optimizers: their rule against the formula written out, and against PyTorch's trajectories."""

import numpy as np
import pytest

import nnlite as nl

OPTIMIZERS = {
    "sgd": (lambda: nl.SGD(lr=0.1), lambda t, p: t.optim.SGD(p, lr=0.1)),
    "decay": (lambda: nl.SGD(lr=0.1, weight_decay=0.02), lambda t, p: t.optim.SGD(p, lr=0.1, weight_decay=0.02)),
    "momentum": (lambda: nl.SGD(lr=0.05, momentum=0.9), lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.9)),
    "nesterov": (
        lambda: nl.SGD(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    "adam": (lambda: nl.Adam(lr=0.01), lambda t, p: t.optim.Adam(p, lr=0.01)),
    "adam, other numbers": (
        lambda: nl.Adam(lr=0.02, beta1=0.5, beta2=0.9, epsilon=1e-4, weight_decay=0.1),
        lambda t, p: t.optim.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1e-4, weight_decay=0.1),
    ),
}


def make_network(device, dtype="float64"):
    return nl.mlp([3, 5, 2], hidden="tanh", device=device, dtype=dtype, seed=1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trajectory_equals_pytorch(name, device, rng):
    """A float64 run equals PyTorch's to 1e-10."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    net = make_network(device)
    first, ours = net.state_dict(), OPTIMIZERS[name][0]()
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    with torch.no_grad():
        for i in (0, 2):
            model[i].weight.copy_(torch.tensor(first[f"{i}.W"].T))
            model[i].bias.copy_(torch.tensor(first[f"{i}.b"]))
    theirs = OPTIMIZERS[name][1](torch, model.parameters())
    trainer = nl.Trainer(net, "mse", ours)
    for _ in range(50):
        theirs.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        theirs.step()
        assert trainer.step(x, y) == pytest.approx(loss.item(), rel=1e-10)
    for i in (0, 2):
        np.testing.assert_allclose(
            net.state_dict()[f"{i}.W"], model[i].weight.detach().numpy().T, rtol=1e-9, atol=1e-11
        )


def test_adam_by_its_formula(device):
    """Two steps written out (Kingma and Ba 2015, algorithm 1)."""
    net = nl.Sequential(nl.Dense(1, 1, bias=False), device=device, dtype="float64")
    net.load_state_dict({"0.W": [[2.0]]})
    optimizer = nl.Adam(lr=0.1)
    optimizer.bind(net)
    w, m, v = 2.0, 0.0, 0.0
    for t, g in ((1, 0.5), (2, -0.25)):
        net.gradients[...] = g
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert net.state_dict()["0.W"][0, 0] == pytest.approx(w, rel=1e-14)


def test_first_adam_step_is_lr_in_float32(device):
    """1 − β₂ᵗ for t = 1 in float32 must not lose its digits: the step is lr · sign(dw)."""
    net = make_network(device, "float32")
    before = net.backend.to_numpy(net.parameters).copy()
    optimizer = nl.Adam(lr=0.5)
    optimizer.bind(net)
    net.gradients[...] = 3.0
    optimizer.step()
    np.testing.assert_allclose(before - net.backend.to_numpy(net.parameters), 0.5, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_devices_agree(name, device, rng):
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    results = []
    for where in ("numpy", device):
        for dtype in ("float64", "float32"):
            trainer = nl.Trainer(make_network(where, dtype), "mse", OPTIMIZERS[name][0]())
            for _ in range(3):
                trainer.step(x, y)
            results.append(trainer.network.state_dict()["2.W"])
    np.testing.assert_allclose(results[2], results[0], rtol=1e-10)
    np.testing.assert_allclose(results[3], results[1], rtol=1e-5, atol=1e-6)


def test_learning_rate_can_be_changed_between_steps(device):
    net = make_network(device)
    optimizer = nl.SGD(lr=0.1)
    optimizer.bind(net)
    optimizer.lr = 0.5
    before = net.backend.to_numpy(net.parameters).copy()
    net.gradients[...] = 1.0
    optimizer.step()
    np.testing.assert_allclose(before - net.backend.to_numpy(net.parameters), 0.5, rtol=1e-14)
    with pytest.raises(ValueError, match="lr must be finite and above 0, not 0"):
        optimizer.lr = 0


@pytest.mark.parametrize(("lr", "dtype", "word"), [(1e-46, "float32", "small"), (1e39, "float32", "large")])
def test_a_learning_rate_that_the_dtype_cannot_hold(lr, dtype, word, device):
    message = f"lr=1e.* is too {word} for float32, the network's dtype, which goes from 1.2e-38 to 3.4e"
    with pytest.raises(ValueError, match=message):
        nl.Trainer(make_network(device, dtype), optimizer=nl.Adam(lr=lr))
    optimizer = nl.SGD(lr=0.1)
    nl.Trainer(make_network(device, dtype), optimizer=optimizer)
    with pytest.raises(ValueError, match=message):
        optimizer.lr = lr
    assert optimizer.lr == 0.1
    nl.Trainer(make_network(device, "float64"), optimizer=nl.SGD(lr=lr))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_can_be_changed_between_steps(nesterov, device, rng):
    """Set after the optimizer was made, bound or used, it is as if it had been there from then on."""
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    results = []
    for late in (False, True):
        trainer = nl.Trainer(make_network(device), "mse", nl.SGD(lr=0.05, **({} if late else {"momentum": 0.8})))
        trainer.optimizer.momentum = 0.8
        trainer.optimizer.nesterov = nesterov
        for _ in range(3):
            trainer.step(x, y)
        trainer.optimizer.nesterov = False
        trainer.optimizer.momentum = 0
        trainer.step(x, y)
        trainer.optimizer.momentum = 0.5
        trainer.fit(x, y, epochs=2, batch_size=4, progress=False)
        results.append(trainer.network.state_dict()["2.W"])
    np.testing.assert_array_equal(*results)
    with pytest.raises(ValueError, match="momentum must be finite and at least 0 and below 1, not"):
        trainer.optimizer.momentum = 1
    trainer.optimizer.nesterov = True
    with pytest.raises(ValueError, match="nesterov=True needs a momentum above 0"):
        trainer.optimizer.momentum = 0
    assert trainer.optimizer.momentum == 0.5


def test_a_new_optimizer_is_its_rule(rng):
    class SignDescent(nl.Optimizer):
        def rule(self, ops, w, dw):
            w -= self.rate * np.sign(dw)

    trainer = nl.Trainer(make_network("numpy"), "mse", SignDescent(lr=0.01))
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    losses = [trainer.step(x, y) for _ in range(60)]
    assert losses[-1] < losses[0]


def test_wrong_arguments():
    for bad, error in ((0, ValueError), (-1, ValueError), (np.nan, ValueError), (np.inf, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="lr must be"):
            nl.SGD(lr=bad)
    with pytest.raises(TypeError, match="lr must be a number, not True"):
        nl.Adam(lr=True)
    with pytest.raises(ValueError, match="momentum must be finite and at least 0 and below 1"):
        nl.SGD(momentum=1.0)
    with pytest.raises(ValueError, match="nesterov=True needs a momentum"):
        nl.SGD(nesterov=True)
    with pytest.raises(RuntimeError, match="has no network yet"):
        nl.SGD().step()
    optimizer = nl.SGD()
    optimizer.bind(make_network("numpy"))
    with pytest.raises(ValueError, match="already trains another network"):
        optimizer.bind(make_network("numpy"))


def test_slots_move_with_the_network(rng):
    """Momentum survives a change of dtype, as the parameters do."""
    trainer = nl.Trainer(make_network("numpy", "float32"), "mse", nl.SGD(lr=0.01, momentum=0.9))
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    trainer.step(x, y)
    velocity = trainer.optimizer.velocity.copy()
    trainer.network.to(dtype="float64")
    trainer.optimizer.bind(trainer.network)
    assert trainer.optimizer.velocity.dtype == np.float64
    np.testing.assert_array_equal(trainer.optimizer.velocity, velocity)
