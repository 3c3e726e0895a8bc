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


def pytorch(problem: Problem) -> Train:
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
                loss = loss_of(net(batch_x), batch_y)
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


# A library reads its number of threads from the environment, where train.py puts it: OMP_NUM_THREADS and its like.
PEERS: dict[str, Peer] = {
    "numba": Peer("nnlite numba", partial(nnlite, device="numba"), "numba", threads=(None,)),
    "eager": Peer("nnlite numba eager", partial(nnlite, device="numba", replay="eager"), "numba"),
    "numpy": Peer("nnlite numpy", partial(nnlite, device="numpy"), "numpy", threads=(None,)),
    "torch": Peer("PyTorch eager", pytorch, "torch"),
}
