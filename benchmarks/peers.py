"""Who trains: one short function a peer, and the table of them.

A peer takes a Problem and returns `train(epochs, shuffle)`, which trains on, and gives the mean loss over the rows of
each epoch. To add one: write that function and a line in PEERS.
Each is written as its own users would run it at its best; a library is imported only by the peer that runs on it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from workloads import Problem

Train = Callable[[int, bool], list[float]]  # (epochs, shuffle) -> mean loss of each epoch


@dataclass(frozen=True)
class Peer:
    """A way to train, with the numbers of threads to try (None: its own default), of which the best counts."""

    title: str
    build: Callable[[Problem], Train]
    module: str  # what must be installed
    threads: tuple[int | None, ...] = (None, 1)

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


def nnlite(problem: Problem, device: str, replay: str = "auto") -> Train:
    """Trainer.fit, as in the README; replay="eager" makes every step in Python."""
    import nnlite as nl

    dtype = problem.x.dtype
    net = nl.mlp(problem.sizes, problem.hidden, problem.output, device=device, dtype=dtype, seed=0)
    net.load_state_dict(problem.weights)
    trainer = nl.Trainer(net, loss=problem.loss, optimizer=nl.SGD(lr=problem.lr), replay=replay)

    def train(epochs: int, shuffle: bool) -> list[float]:
        batch_size = problem.batch_size
        return trainer.fit(problem.x, problem.y, epochs, batch_size, shuffle=shuffle, progress=False)["loss"]

    return train


def pytorch(problem: Problem, compiled: bool = False) -> Train:
    """Eager, without DataLoader: tensors in memory, index_select for the batch, the fused optimizer."""
    import torch
    from torch import nn

    net = nn.Sequential(*_torch_layers(nn, problem))
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for i, layer in enumerate(linear):  # nnlite's W is (inputs, outputs), PyTorch's (outputs, inputs)
            layer.weight = nn.Parameter(torch.from_numpy(problem.weights[f"{2 * i}.W"].T.copy()))
            layer.bias = nn.Parameter(torch.from_numpy(problem.weights[f"{2 * i}.b"].copy()))
    loss_of = nn.functional.cross_entropy if problem.loss == "cce" else nn.functional.mse_loss
    optimizer = _torch_sgd(torch, net, problem.lr)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)  # (N, inputs); (N, outputs) or labels (N,)
    rows = len(x)

    def measure(batch_x: Any, batch_y: Any) -> Any:
        return loss_of(net(batch_x), batch_y)

    loss_on = torch.compile(measure) if compiled else measure

    def batches(shuffle: bool) -> Any:
        if problem.full_batch:
            yield x, y
            return
        order = torch.randperm(rows) if shuffle else torch.arange(rows)
        for batch in order.split(problem.batch_size):
            yield x.index_select(0, batch), y.index_select(0, batch)

    def train(epochs: int, shuffle: bool) -> list[float]:
        losses = []
        for _ in range(epochs):
            total = torch.zeros((), dtype=x.dtype)
            for batch_x, batch_y in batches(shuffle):
                loss = loss_on(batch_x, batch_y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total.add_(loss.detach(), alpha=len(batch_x))  # read only once an epoch
            losses.append(total.item() / rows)
        return losses

    return train


def _torch_layers(nn: Any, problem: Problem) -> list[Any]:
    """Without the softmax, which PyTorch's cross_entropy has inside."""
    kinds = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    names = [problem.hidden] * (len(problem.sizes) - 2) + [problem.output]
    layers = []
    for inputs, outputs, name in zip(problem.sizes, problem.sizes[1:], names):
        layers += [nn.Linear(inputs, outputs)] + ([kinds[name]()] if name in kinds else [])
    return layers


def _torch_sgd(torch: Any, net: Any, lr: float) -> Any:
    try:
        return torch.optim.SGD(net.parameters(), lr, fused=True)
    except (TypeError, RuntimeError):  # before PyTorch 2.4 there was none for the CPU
        return torch.optim.SGD(net.parameters(), lr, foreach=True)


def compiled_pytorch(problem: Problem) -> Train:
    """The same with forward, loss and backward compiled by torch.compile."""
    return pytorch(problem, compiled=True)


def jax(problem: Problem) -> Train:
    """An epoch in one jit, its steps by lax.scan; where one batch is all rows, all epochs in one."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_enable_x64", True)  # float32 stays float32
    activations = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "identity": lambda z: z}
    names = [problem.hidden] * (len(problem.sizes) - 2) + [problem.output]
    dtype, rows, batch_size = problem.x.dtype, len(problem.x), min(problem.batch_size, len(problem.x))
    weights = [(problem.weights[f"{2 * i}.W"], problem.weights[f"{2 * i}.b"]) for i in range(len(names))]
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        for (W, b), name in zip(weights, names):
            z = x @ W + b
            x = z if name == "softmax" else activations[name](z)
        if problem.loss == "mse":
            return jnp.mean((x - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    def step(weights: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, x, y)
        lr = jnp.asarray(problem.lr, dtype)
        return jax.tree.map(lambda w, dw: w - lr * dw, weights, gradients), loss

    @partial(jax.jit, donate_argnums=0)
    def epoch(weights: Any, x: Any, y: Any, order: Any) -> Any:
        def one(weights: Any, batch: Any) -> Any:
            return step(weights, x[batch], y[batch])

        steps, rest = divmod(rows, batch_size)
        weights, losses = lax.scan(one, weights, order[: steps * batch_size].reshape(steps, batch_size))
        total = losses.sum() * batch_size
        if rest:
            weights, loss = one(weights, order[steps * batch_size :])
            total += loss * rest
        return weights, total / rows

    @partial(jax.jit, donate_argnums=0)
    def epochs_of_one_batch(weights: Any, x: Any, y: Any, epochs: Any, losses: Any) -> Any:
        def one(i: Any, state: Any) -> Any:
            weights, losses = state
            weights, loss = step(weights, x, y)
            return weights, losses.at[i].set(loss)

        return lax.fori_loop(0, epochs, one, (weights, losses))

    state = jax.tree.map(jnp.asarray, weights)
    shuffles = np.random.default_rng(0)

    def train(epochs: int, shuffle: bool) -> list[float]:
        nonlocal state
        losses: list[Any] = []
        if problem.full_batch:
            room = 1_000_000  # of one size, so that it is compiled once
            for start in range(0, epochs, room):
                some = min(room, epochs - start)
                state, found = epochs_of_one_batch(state, x, y, some, jnp.zeros(room, dtype))
                losses += np.asarray(found)[:some].tolist()
            return losses
        for _ in range(epochs):
            order = shuffles.permutation(rows) if shuffle else np.arange(rows)
            state, loss = epoch(state, x, y, order)
            losses.append(loss)
        return [float(loss) for loss in losses]

    return train


def scikit_learn(problem: Problem) -> Train:
    """MLPClassifier or MLPRegressor with solver="sgd", every extra switched off."""
    import warnings

    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")  # that so few epochs do not converge
    kind, outputs = (MLPClassifier, 1) if problem.loss == "cce" else (MLPRegressor, problem.sizes[-1])
    net = kind(
        hidden_layer_sizes=problem.sizes[1:-1],
        activation={"sigmoid": "logistic"}.get(problem.hidden, problem.hidden),
        solver="sgd",
        alpha=0.0,
        batch_size=min(problem.batch_size, len(problem.x)),
        # its squared loss is half the square, its gradient that summed over the outputs
        learning_rate_init=problem.lr if problem.loss == "cce" else problem.lr * 2 / outputs,
        momentum=0.0,
        nesterovs_momentum=False,
        max_iter=1,
        tol=0.0,
        n_iter_no_change=10**9,
        warm_start=True,
        random_state=0,
    )
    y = problem.y.ravel() if problem.sizes[-1] == 1 else problem.y
    net.fit(problem.x, y)  # makes the arrays, which are then filled
    for i, (W, b) in enumerate(zip(net.coefs_, net.intercepts_)):
        W[...], b[...] = problem.weights[f"{2 * i}.W"], problem.weights[f"{2 * i}.b"]

    def train(epochs: int, shuffle: bool) -> list[float]:
        seen = len(net.loss_curve_)
        net.set_params(max_iter=epochs, shuffle=shuffle).fit(problem.x, y)
        return [(1 if problem.loss == "cce" else 2) * loss for loss in net.loss_curve_[-epochs:] if seen]

    return train


# A library reads its number of threads from the environment, where train.py puts it: OMP_NUM_THREADS and its like.
PEERS: dict[str, Peer] = {
    "numba": Peer("nnlite numba", partial(nnlite, device="numba"), "numba", threads=(None,)),
    "eager": Peer("nnlite numba eager", partial(nnlite, device="numba", replay="eager"), "numba"),
    "numpy": Peer("nnlite numpy", partial(nnlite, device="numpy"), "numpy", threads=(None,)),
    "torch": Peer("PyTorch eager", pytorch, "torch"),
    "compile": Peer("torch.compile", compiled_pytorch, "torch"),
    "jax": Peer("JAX scan", jax, "jax", threads=(None,)),
    "sklearn": Peer("scikit-learn", scikit_learn, "sklearn"),
}
