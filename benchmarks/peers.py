"""Who trains: one short function a peer, and the table of them.

A peer takes a Problem and returns `train(epochs, shuffle)`, which trains on, and gives the mean loss over the rows of
each epoch. To add one: write that function and a line in PEERS.
Each is written as its own users would run it at its best; a library is imported only by the peer that runs on it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import extended
import numpy as np
from extended import torch_batches, torch_net
from workloads import PLAIN, Problem, Train, activations_of, layers_of


@dataclass(frozen=True)
class Peer:
    """A way to train or to predict, with the numbers of threads to try (None: its own default); the best counts."""

    title: str
    build: Callable[[Problem], Any]  # what trains is a Train, what predicts a Run (predictors.py)
    modules: tuple[str, ...]  # what must be installed
    threads: tuple[int | None, ...] = (None, 1)
    program: str = ""  # one that it needs beside its module
    cannot: Callable[[Problem], str] = lambda problem: ""  # why it cannot train this; nothing if it can
    whole_batches: bool = False  # it leaves out a short last batch, so it is not given one
    exact: bool = True  # whether in float64 it computes the same to nine digits
    note: str = ""  # what a reader of its times must know

    @property
    def missing(self) -> str:
        """What has to be installed for it; nothing if all is there."""
        modules = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return " and no ".join(modules + [self.program] * bool(self.program and not shutil.which(self.program)))

    def given(self, problem: Problem) -> Problem:
        """The problem, with no more rows than it trains on."""
        rows = len(problem.x)
        return problem.head(rows - rows % problem.batch_size) if self.whole_batches else problem


def available(peers: Mapping[str, Peer], wanted: Iterable[str]) -> dict[str, Peer]:
    """Those of the wanted peers that can run here, in that order; the others are named on stderr.

    Ends the process where none is left.
    """
    found = {name: peers[name] for name in wanted}
    for name, peer in list(found.items()):
        if peer.missing:
            print(f"{peer.title} is left out: there is no {peer.missing} here", file=sys.stderr)
            del found[name]
    if not found:
        raise SystemExit("none of these peers can run here")
    return found


def nnlite(problem: Problem, device: str, replay: str = "auto") -> Train:
    """Trainer.fit, as in the README; replay="eager" makes every step in Python."""
    import nnlite as nl

    extras = problem.extras
    added: dict[str, Any] = {"dropout": extras.dropout, "batch_norm": extras.batch_norm}
    place: dict[str, Any] = {"device": device, "dtype": problem.x.dtype, "seed": 0}
    net = nl.mlp(problem.sizes, problem.hidden, problem.output, **place, **added)
    for layer, (W, b) in zip((layer for layer in net.layers if isinstance(layer, nl.Dense)), layers_of(problem)):
        layer.W = W
        if layer.bias:
            layer.b = b
    rate = nl.schedules.Cosine(problem.lr, extras.cosine, by="step") if extras.cosine else problem.lr
    optimizer = {"sgd": nl.SGD, "adam": nl.Adam, "adamw": nl.AdamW}[extras.optimizer](rate)
    metrics = ["accuracy"] if extras.accuracy else []
    trainer = nl.Trainer(net, problem.loss, optimizer, metrics, replay=replay)
    weighted = {} if problem.weight is None else {"sample_weight": problem.weight}

    def train(epochs: int, shuffle: bool) -> list[float]:
        batch_size = problem.batch_size
        history = trainer.fit(problem.x, problem.y, epochs, batch_size, shuffle=shuffle, progress=False, **weighted)
        return history["loss"] + history.get("accuracy", [])

    return train


def pytorch(problem: Problem) -> Train:
    """Eager, without DataLoader: tensors in memory, index_select for the batch, the fused optimizer."""
    if problem.extras != PLAIN:
        return extended.pytorch(problem)
    import torch

    net, loss_of = torch_net(problem)
    optimizer = _torch_sgd(net, problem.lr)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)  # (N, inputs); (N, outputs) or labels (N,)
    rows = len(x)

    def train(epochs: int, shuffle: bool) -> list[float]:
        losses = []
        for _ in range(epochs):
            total = torch.zeros((), dtype=x.dtype)
            for batch in torch_batches(problem, shuffle):
                batch_x, batch_y = (x, y) if batch is None else (x.index_select(0, batch), y.index_select(0, batch))
                loss = loss_of(net(batch_x), batch_y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total.add_(loss.detach(), alpha=len(batch_x))  # read only once an epoch
            losses.append(total.item() / rows)
        return losses

    return train


def compiled_pytorch(problem: Problem) -> Train:
    """A whole step in one torch.compile: the batch, forward, loss, gradients by torch.func, update.

    Only the loss compiled, and the rest as in eager mode, took up to three times as long on small nets.
    """
    import torch

    torch._dynamo.reset()  # or it would give up compiling after a number of problems in one process
    net, loss_of = torch_net(problem)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    rows, total = len(x), torch.zeros(1, dtype=x.dtype)  # without an axis, a float64 would be a copy in compiled code

    def loss_on(weights: Any, batch_x: Any, batch_y: Any) -> Any:
        return loss_of(torch.func.functional_call(net, weights, (batch_x,)), batch_y)

    @torch.compile(dynamic=False)  # once for the full batch, and once for a short last one
    def step(weights: Any, total: Any, x: Any, y: Any, batch: Any) -> None:
        batch_x, batch_y = (x, y) if batch is None else (x.index_select(0, batch), y.index_select(0, batch))
        gradients, loss = torch.func.grad_and_value(loss_on)(weights, batch_x, batch_y)
        for name, weight in weights.items():
            weight.sub_(gradients[name], alpha=problem.lr)
        total.add_(loss, alpha=len(batch_x))

    @torch.no_grad()
    def train(epochs: int, shuffle: bool) -> list[float]:
        losses = []
        for _ in range(epochs):
            total.zero_()
            for batch in torch_batches(problem, shuffle):
                step(weights, total, x, y, batch)
            losses.append(total.item() / rows)
        return losses

    return train


def _torch_sgd(net: Any, lr: float) -> Any:
    import torch

    try:
        return torch.optim.SGD(net.parameters(), lr, fused=True)
    except (TypeError, RuntimeError):  # before PyTorch 2.4 there was none for the CPU
        return torch.optim.SGD(net.parameters(), lr, foreach=True)


def jax(problem: Problem) -> Train:
    """An epoch in one jit, its steps by lax.scan; where one batch is all rows, all epochs in one."""
    if problem.extras != PLAIN:
        return extended.jax(problem)
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_enable_x64", True)  # float32 stays float32
    dtype, rows, batch_size = problem.x.dtype, len(problem.x), min(problem.batch_size, len(problem.x))
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        x = jax_forward(problem, weights, x)
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

    state = jax.tree.map(jnp.asarray, layers_of(problem))
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


def jax_forward(problem: Problem, weights: Any, x: Any) -> Any:
    """The net's output without the softmax, which is inside of the loss."""
    import jax

    activations = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh}
    for (W, b), name in zip(weights, activations_of(problem)):
        z = x @ W + b
        x = activations[name](z) if name in activations else z
    return x


def scikit_learn(problem: Problem) -> Train:
    """MLPClassifier.fit or MLPRegressor.fit, which go on from the weights that are there."""
    net, y = scikit_learn_net(problem), _scikit_learn_target(problem)

    def train(epochs: int, shuffle: bool) -> list[float]:
        net.set_params(max_iter=epochs, shuffle=shuffle).fit(problem.x, y)
        return _scikit_learn_losses(problem, net, epochs)

    return train


def scikit_learn_partial(problem: Problem) -> Train:
    """The same by partial_fit, an epoch a call."""
    net, y = scikit_learn_net(problem), _scikit_learn_target(problem)

    def train(epochs: int, shuffle: bool) -> list[float]:
        net.shuffle = shuffle  # set_params looks at every parameter first
        for _ in range(epochs):
            net.partial_fit(problem.x, y)
        return _scikit_learn_losses(problem, net, epochs)

    return train


def scikit_learn_net(problem: Problem) -> Any:
    """MLPClassifier or MLPRegressor with the first weights, solver="sgd", every extra switched off."""
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
    net.fit(problem.x, _scikit_learn_target(problem))  # makes the arrays, which are then filled
    for W, b, (first_W, first_b) in zip(net.coefs_, net.intercepts_, layers_of(problem)):
        W[...], b[...] = first_W, first_b
    return net


def _scikit_learn_target(problem: Problem) -> np.ndarray:
    return problem.y.ravel() if problem.sizes[-1] == 1 else problem.y


def _scikit_learn_losses(problem: Problem, net: Any, epochs: int) -> list[float]:
    return [float(loss) * (1 if problem.loss == "cce" else 2) for loss in net.loss_curve_[-epochs:]]


def _plain_only(problem: Problem) -> str:
    return "" if problem.extras == PLAIN else "is timed for plain SGD only"


def _keras_cannot(problem: Problem) -> str:
    return "divides a weighted loss by the number of rows" if problem.extras.weighted else ""


def _scikit_learn_cannot(problem: Problem) -> str:
    if problem.extras.dropout or problem.extras.batch_norm or problem.extras.cosine:
        return "has no dropout, no batch norm, and no such schedule"
    fits = problem.output == ("softmax" if problem.loss == "cce" else "identity")
    return "" if fits else f"has no {problem.output} output with this loss"


def crysx(problem: Problem) -> Train:
    """Its nn_model on the CPU. It does not shuffle, and so is spared the gathering of rows."""
    with _silence():
        from crysx_nn import network

        names = [{"relu": "ReLU"}.get(name, name.title()) for name in activations_of(problem)]
        batch_size = min(problem.batch_size, len(problem.x))
        net = network.nn_model(problem.sizes[0], list(problem.sizes[1:]), names, batch_size, device="CPU")
    net.weights = [W.T.copy() for W, _ in layers_of(problem)]
    net.biases = [b.copy() for _, b in layers_of(problem)]
    y = np.eye(problem.sizes[-1], dtype=problem.x.dtype)[problem.y] if problem.loss == "cce" else problem.y

    def train(epochs: int, shuffle: bool) -> list[float]:
        with _silence():
            net.optimize(problem.x, y, None, problem.lr, epochs, problem.loss.upper(), miniterEpoch=epochs)
        return [float(loss) for loss in net.errors]

    return train


def _crysx_cannot(problem: Problem) -> str:
    if problem.extras != PLAIN:
        return _plain_only(problem)
    exact = problem.loss != "cce" or problem.x.dtype == np.float32
    return "" if exact else "adds 1e-7 to every probability whose logarithm it takes"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing is printed, no bar is drawn, no warning is given."""
    out, err = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with out, err, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# A library reads its number of threads from the environment, where processes.py puts it: OMP_NUM_THREADS and its like.
PEERS: dict[str, Peer] = {
    "numba": Peer("nnlite numba", partial(nnlite, device="numba"), ("numba",), threads=(None,)),
    "eager": Peer("nnlite numba eager", partial(nnlite, device="numba", replay="eager"), ("numba",)),
    "numpy": Peer("nnlite numpy", partial(nnlite, device="numpy"), ("numpy",)),
    "torch": Peer("PyTorch eager", pytorch, ("torch",)),
    "compile": Peer("torch.compile", compiled_pytorch, ("torch",), program="c++", cannot=_plain_only),
    "jax": Peer("JAX scan", jax, ("jax",)),
    "keras": Peer("Keras", extended.keras, ("keras", "jax"), cannot=_keras_cannot, exact=False, note="runs on JAX"),
    "sklearn": Peer("scikit-learn", scikit_learn, ("sklearn",), cannot=_scikit_learn_cannot),
    "sklearn-partial": Peer(
        "scikit-learn partial_fit", scikit_learn_partial, ("sklearn",), cannot=_scikit_learn_cannot
    ),
    "crysx": Peer(
        *("crysx_nn", crysx, ("crysx_nn",)),
        cannot=_crysx_cannot,
        whole_batches=True,
        note="does not shuffle, and leaves out a short last batch, which is not counted as a step of it",
    ),
}
USUAL = [name for name in PEERS if name not in ("eager", "numpy", "keras", "sklearn-partial")]
