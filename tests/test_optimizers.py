"""Optimizers: their rule against the formula written out, and against PyTorch's trajectories."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import on_threads

import nnlite as nl
from nnlite.rules import OPTIMIZERS as KNOWN


def without_biases(parameters, decay):
    """PyTorch's groups of parameters, of which only the matrices decay."""
    all_of_them = list(parameters)
    return [
        {"params": [p for p in all_of_them if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in all_of_them if p.ndim == 1]},
    ]


class Case(NamedTuple):
    """An optimizer of ours, and PyTorch's; what PyTorch's users do with the model before and after its step."""

    ours: Callable[[], nl.Optimizer]
    theirs: Callable[[Any, Any], Any]  # torch, model
    before: Callable[[Any, Any], Any] = lambda torch, model: None
    after: Callable[[Any, Any], Any] = lambda torch, model: None


def alike(kind, theirs=None, ours=None, **both):
    """A case of equal names and arguments on both sides but those that only ours or only theirs has."""
    return Case(
        lambda: getattr(nl, kind)(**both, **(ours or {})),
        lambda t, model: getattr(t.optim, kind)(model.parameters(), **both, **(theirs or {})),
    )


def lion(torch, model, lr, beta1, beta2, decay):
    """Lion as in the paper's algorithm 2, since PyTorch does not have it."""

    class Lion(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self):
            for p in self.param_groups[0]["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p -= lr * (torch.sign(beta1 * m + (1 - beta1) * p.grad) + decay * p)
                self.state[p]["m"] = beta2 * m + (1 - beta2) * p.grad

    return Lion(model.parameters(), {})


def add_l1(torch, model, decay):
    for p in model.parameters():
        p.grad += decay * torch.sign(p.detach())


def limit_norms(torch, model, most):
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                norm = p.norm(dim=1, keepdim=True)  # of the weights of each unit
                p *= torch.where(norm > most, most / norm, torch.ones_like(norm))


def layers_apart(model, *rates):
    """PyTorch's groups of parameters: a learning rate for each of the first layers with parameters."""
    layers = [layer for layer in model if any(True for _ in layer.parameters())]
    return [{"params": layer.parameters()} | ({"lr": rates[i]} if rates[i:] else {}) for i, layer in enumerate(layers)]


def sgd(torch, model, **settings):
    return torch.optim.SGD(model.parameters(), lr=0.1, **settings)


RATES = (0.003, 0.012)
CASES = {
    "sgd": alike("SGD", lr=0.1),
    "decay": alike("SGD", lr=0.1, weight_decay=0.02),
    "decay without biases": Case(
        lambda: nl.SGD(lr=0.1, weight_decay=0.02, decay_biases=False),
        lambda t, model: t.optim.SGD(without_biases(model.parameters(), 0.02), lr=0.1),
    ),
    "momentum": alike("SGD", lr=0.05, momentum=0.9),
    "nesterov": alike("SGD", lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "adam": alike("Adam", lr=0.01),
    "adam, other numbers": alike(
        "Adam",
        {"betas": (0.5, 0.9), "eps": 1e-4},
        {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-4},
        lr=0.02,
        weight_decay=0.1,
    ),
    "amsgrad": alike("Adam", {"betas": (0.8, 0.9)}, {"beta1": 0.8, "beta2": 0.9}, lr=0.03, amsgrad=True),
    "adamw": alike("AdamW", lr=0.02),
    "adamw without biases": Case(
        lambda: nl.AdamW(lr=0.02, weight_decay=0.3, decay_biases=False, amsgrad=True),
        lambda t, model: t.optim.AdamW(without_biases(model.parameters(), 0.3), lr=0.02, weight_decay=0, amsgrad=True),
    ),
    "nadam": alike("NAdam", lr=0.02),
    "nadam, decoupled": alike(
        "NAdam",
        {"momentum_decay": 0.1, "decoupled_weight_decay": True},
        {"growth": 0.1, "decoupled": True},
        lr=0.01,
        weight_decay=0.1,
    ),
    "radam": alike("RAdam", {"betas": (0.9, 0.98)}, {"beta2": 0.98}, lr=0.01, weight_decay=0.01),
    "adamax": alike("Adamax", lr=0.02, weight_decay=0.01),
    "adagrad": alike("Adagrad", lr=0.05, weight_decay=0.01),
    "adadelta": alike("Adadelta", lr=0.7, rho=0.8, weight_decay=0.01),
    "rmsprop": alike("RMSprop", {"alpha": 0.9}, {"rho": 0.9}, lr=0.003, weight_decay=0.01),
    "rmsprop, centered, with momentum": alike("RMSprop", lr=0.003, centered=True, momentum=0.8),
    "lion": Case(
        lambda: nl.Lion(lr=0.003, beta2=0.95, weight_decay=0.1), lambda t, model: lion(t, model, 0.003, 0.9, 0.95, 0.1)
    ),
    "rprop": alike("Rprop", lr=0.02),
    "l1": Case(lambda: nl.SGD(lr=0.1, l1=0.05), sgd, before=lambda t, model: add_l1(t, model, 0.05)),
    "clip by value": Case(
        lambda: nl.SGD(lr=0.1, clip_value=0.05),
        sgd,
        before=lambda t, model: t.nn.utils.clip_grad_value_(model.parameters(), 0.05),
    ),
    "clip by norm": Case(
        lambda: nl.SGD(lr=0.1, momentum=0.5, weight_decay=0.01, clip_norm=0.3),
        lambda t, model: sgd(t, model, momentum=0.5, weight_decay=0.01),
        before=lambda t, model: t.nn.utils.clip_grad_norm_(model.parameters(), 0.3),
    ),
    "max-norm": Case(lambda: nl.SGD(lr=0.1, max_norm=0.8), sgd, after=lambda t, model: limit_norms(t, model, 0.8)),
    "a learning rate per layer": Case(
        lambda: nl.AdamW(lr=0.006, lr_factors={0: 0.5, "2.W": 2, "2.b": 2.0}),
        lambda t, model: t.optim.AdamW(layers_apart(model, *RATES), lr=0.006),
    ),
}


def test_every_optimizer_is_tried():
    assert {type(case.ours()) for case in CASES.values()} == set(KNOWN.values())


def make_network(device, dtype="float64"):
    return nl.mlp([3, 5, 2], hidden="tanh", device=device, dtype=dtype, seed=1)


@pytest.mark.parametrize("name", CASES)
def test_trajectory_equals_pytorch(name, torch, device, rng):
    """A float64 run equals PyTorch's to 1e-10: first made step by step, then recorded."""
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    net = make_network(device)
    first, case = net.state_dict(), CASES[name]
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    with torch.no_grad():
        for i in (0, 2):
            model[i].weight.copy_(torch.tensor(first[f"{i}.W"].T))
            model[i].bias.copy_(torch.tensor(first[f"{i}.b"]))
    theirs = case.theirs(torch, model)
    losses = []
    for _ in range(50):
        theirs.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        case.before(torch, model)
        theirs.step()
        case.after(torch, model)
        losses.append(loss.item())
    trainer = nl.Trainer(net, "mse", case.ours())
    ours = [trainer.step(x, y) for _ in range(20)]
    ours += trainer.fit(x, y, epochs=30, batch_size=12, shuffle=False, progress=False)["loss"]
    assert trainer.tape is not None
    np.testing.assert_allclose(ours, losses, rtol=1e-10)
    for i in (0, 2):
        np.testing.assert_allclose(
            net.state_dict()[f"{i}.W"], model[i].weight.detach().numpy().T, rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_averages_equal_pytorch(decay, torch, device, rng):
    from torch.optim import swa_utils

    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    net = make_network(device)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    with torch.no_grad():
        for i in (0, 2):
            model[i].weight.copy_(torch.tensor(net.state_dict()[f"{i}.W"].T))
            model[i].bias.copy_(torch.tensor(net.state_dict()[f"{i}.b"]))
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(decay))
    theirs = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(15):
        theirs.zero_grad()
        torch.nn.functional.mse_loss(model(torch.tensor(x)), torch.tensor(y)).backward()
        theirs.step()
        averaged.update_parameters(model)
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.1, average=decay))
    for _ in range(5):
        trainer.step(x, y)
    trainer.fit(x, y, epochs=10, batch_size=12, shuffle=False, progress=False)
    found, expected = trainer.averaged().predict(x), averaged(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert np.array_equal(found, net.predict(x)) == (decay == 0)


def test_averages_need_an_average():
    with pytest.raises(ValueError, match=r"average=0.999"):
        nl.Trainer(make_network("numpy"), "mse", nl.SGD()).averaged()
    with pytest.raises(ValueError, match="no step"):
        nl.Trainer(make_network("numpy"), "mse", nl.SGD(average=0.9)).averaged()


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


@pytest.mark.parametrize("name", CASES)
def test_devices_agree(name, device, rng):
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    results = []
    for where in ("numpy", device):
        for dtype in ("float64", "float32"):
            trainer = nl.Trainer(make_network(where, dtype), "mse", CASES[name].ours())
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


ALL = {"l1": 0.01, "clip_value": 0.3, "clip_norm": 0.4, "max_norm": 0.9, "lr_factors": {0: 0.5}, "average": 0.7}


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize(
    "decay", [{"decoupled": True}, {"decay_biases": False}, {"decoupled": True, "decay_biases": False}]
)
@pytest.mark.parametrize("kind", [nl.SGD, nl.Adam, nl.NAdam])
def test_threads_and_tiles_agree_with_numpy(kind, decay, tiles, rng):
    x, y = rng.standard_normal((130, 7)), rng.standard_normal((130, 6))
    results = []
    for device in ("numpy", on_threads(**({"smallest_tile": 8, "tile_bytes": 4000} if tiles else {}))):
        net = nl.mlp([7, 9, 6], hidden="tanh", device=device, dtype="float64", seed=1, threads=2)
        trainer = nl.Trainer(net, "mse", kind(lr=0.02, weight_decay=0.1, **decay, **ALL))
        trainer.fit(x, y, epochs=4, batch_size=96, progress=False)
        assert device == "numpy" or (("tiles" in trainer.plan()) == tiles and "2 threads" in trainer.plan())
        results.append(np.concatenate([net.parameters, trainer.averaged().parameters]))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-11, atol=1e-14)


def test_nothing_is_recorded_that_was_not_asked_for(rng):
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    for kind, expected in ((nl.SGD, ["sgd_step"]), (nl.Adam, ["count_step", "adam_step"])):
        trainer = nl.Trainer(make_network("numba"), "mse", kind())
        trainer.fit(x, y, batch_size=8, progress=False)
        names = [call.name for call in trainer.tape.calls]
        assert names[names.index("linear_backward_bias", 8) + 1 : -2] == expected


def test_a_factor_of_zero_keeps_a_layer_as_it_is(device, rng):
    net = make_network(device)
    first = net.state_dict()
    trainer = nl.Trainer(net, "mse", nl.Adam(lr=0.1, lr_factors={0: 0, "2.b": 0}))
    trainer.fit(rng.standard_normal((8, 3)), rng.standard_normal((8, 2)), epochs=3, progress=False)
    changed = {name for name, value in net.state_dict().items() if not np.array_equal(value, first[name])}
    assert changed == {"2.W"}


def test_wrong_options():
    for options, error, text in (
        ({"l1": -1}, ValueError, "l1 must be"),
        ({"clip_value": 0}, ValueError, "clip_value must be"),
        ({"clip_norm": "x"}, TypeError, "clip_norm must be"),
        ({"max_norm": -1}, ValueError, "max_norm must be"),
        ({"average": 1}, ValueError, "average must be"),
        ({"lr_factors": {0: -1}}, ValueError, r"lr_factors\[0\] must be"),
        ({"decay": 1}, TypeError, "decay"),
    ):
        for kind in KNOWN.values():
            with pytest.raises(error, match=text):
                kind(**options)
    for key in (1, "3.W", "W"):
        with pytest.raises(ValueError, match=rf"lr_factors has {key!r}, but .* 0.W, 0.b, 2.W, 2.b"):
            nl.Trainer(make_network("numpy"), optimizer=nl.SGD(lr_factors={key: 0.1}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KNOWN)
def test_every_optimizer_by_its_name_learns(name, dtype, device, rng):
    x = rng.standard_normal((40, 3))
    trainer = nl.Trainer(make_network(device, dtype), "mse", name)
    losses = trainer.fit(x, np.tanh(x[:, :2]), epochs=30, batch_size=40, progress=False)["loss"]
    assert losses[-1] < losses[0] and trainer.tape is not None


@pytest.mark.parametrize(
    "kind", [nl.Adam, nl.AdamW, nl.NAdam, nl.RAdam, nl.Adamax, nl.Adagrad, nl.Adadelta, nl.RMSprop, nl.Rprop]
)
def test_defaults_are_pytorchs(kind):
    """By training without a word on either side; PyTorch's AdamW alone has another decay than 0, as ours has."""
    torch = pytest.importorskip("torch")
    net = nl.Sequential(nl.Dense(3, 4), nl.Tanh(), nl.Dense(4, 1), device="numpy", dtype="float64", seed=0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    model.load_state_dict({name: torch.tensor(array) for name, array in net.state_dict("torch").items()})
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 1))
    trainer, theirs = nl.Trainer(net, "mse", kind()), getattr(torch.optim, kind.__name__)(model.parameters())
    for _ in range(60):
        trainer.step(x, y)
        theirs.zero_grad()
        torch.nn.functional.mse_loss(model(torch.tensor(x)), torch.tensor(y)).backward()
        theirs.step()
    for name, array in net.state_dict("torch").items():
        np.testing.assert_allclose(array, model.state_dict()[name].numpy(), rtol=1e-7, atol=1e-9, err_msg=name)


def test_max_norm_leaves_frozen_matrices_alone():
    net = nl.mlp([3, 4, 2], device="numpy", dtype="float64", seed=0)
    for layer in (net.layers[0], net.layers[2]):
        layer.W *= 10
    net.layers[0].trainable = False
    before = net.layers[0].W.copy()
    nl.Trainer(net, "mse", nl.SGD(lr=1e-9, max_norm=0.5)).step(np.ones((4, 3)), np.ones((4, 2)))
    np.testing.assert_array_equal(net.layers[0].W, before)
    assert np.linalg.norm(net.layers[2].W, axis=0).max() <= 0.5 + 1e-12
