"""The peers that also train with other optimizers, schedules, dropout, batch norm, weights of rows, and accuracy.

`train(epochs, shuffle)` gives the mean losses of the epochs and, where accuracy is measured, those after them.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
from workloads import Problem, Train, activations_of, layers_of

DECAY = 0.01  # of AdamW
EPSILON, MOMENTUM = 1e-5, 0.1  # of batch norm


def pytorch(problem: Problem) -> Train:
    """Eager, with PyTorch's own layers and fused optimizers; the schedule sets the rate before each step."""
    import torch
    from torch.nn import functional

    extras, classes = problem.extras, problem.loss == "cce"
    net, mean_loss = torch_net(problem)
    optimizer: Any = {
        "sgd": partial(torch.optim.SGD, weight_decay=0),
        "adam": partial(torch.optim.Adam, weight_decay=0),
        "adamw": partial(torch.optim.AdamW, weight_decay=DECAY),
    }[extras.optimizer](net.parameters(), lr=problem.lr, fused=True)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)  # (N, inputs); (N, outputs) or labels (N,)
    weight = torch.from_numpy(np.ones(len(x), problem.x.dtype) if problem.weight is None else problem.weight)  # (N,)
    done = 0

    def loss_of(outputs: Any, target: Any, weight: Any) -> Any:
        if problem.weight is None:
            return mean_loss(outputs, target)
        if classes:
            each = functional.cross_entropy(outputs, target, reduction="none")
        else:
            each = ((outputs - target) ** 2).mean(1)
        return (each * weight).sum() / weight.sum()

    def train(epochs: int, shuffle: bool) -> list[float]:
        nonlocal done
        losses, accuracies = [], []
        for _ in range(epochs):
            total, hits = torch.zeros((), dtype=x.dtype), torch.zeros((), dtype=torch.int64)
            for batch, rate in zip(torch_batches(problem, shuffle), problem.rates(done, problem.steps).tolist()):
                if extras.cosine:
                    optimizer.param_groups[0]["lr"] = rate
                whole = x, y, weight
                part, target, weights = whole if batch is None else (a.index_select(0, batch) for a in whole)
                outputs = net(part)
                loss = loss_of(outputs, target, weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * (len(part) if problem.weight is None else weights.sum())
                if extras.accuracy:
                    hits += (outputs.argmax(1) == target).sum()
            done += problem.steps
            losses.append(total.item() / weight.sum().item())
            accuracies.append(hits.item() / len(x))
        return losses + (accuracies if extras.accuracy else [])

    return train


def jax(problem: Problem) -> Train:
    """An epoch in one jit, its steps by lax.scan; the optimizers are written out, as their authors did."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    jax.config.update("jax_enable_x64", True)
    extras, dtype, rows = problem.extras, problem.x.dtype, len(problem.x)
    batch_size = min(problem.batch_size, rows)
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)
    weight = jnp.asarray(np.ones(rows, dtype) if problem.weight is None else problem.weight)
    hidden = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
    decay = DECAY if extras.optimizer == "adamw" else 0.0

    def outputs_of(parameters: Any, means: Any, x: Any, key: Any) -> tuple[Any, Any]:
        """The outputs before the softmax, and the running means and variances."""
        found = []
        for i, (name, layer) in enumerate(zip(activations_of(problem), parameters)):
            last = i == len(parameters) - 1
            x = x @ layer["W"] + layer.get("b", 0)
            if not last:
                if extras.batch_norm:
                    mean, variance = x.mean(0), x.var(0)
                    x = (x - mean) / jnp.sqrt(variance + EPSILON) * layer["gamma"] + layer["beta"]
                    now = jnp.stack([mean, variance * len(x) / (len(x) - 1)])
                    found.append((1 - MOMENTUM) * means[i] + MOMENTUM * now)
                x = hidden[name](x)
                if extras.dropout:
                    kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - extras.dropout, x.shape)
                    x = jnp.where(kept, x / (1 - extras.dropout), 0)
            elif name in hidden:
                x = hidden[name](x)
        return x, found

    def loss_of(parameters: Any, means: Any, x: Any, y: Any, weight: Any, key: Any) -> Any:
        outputs, means = outputs_of(parameters, means, x, key)
        if problem.loss == "mse":
            each, hits = ((outputs - y) ** 2).mean(1), jnp.zeros((), jnp.int64)
        else:
            each = -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1)[:, 0]
            hits = (outputs.argmax(1) == y).sum() if extras.accuracy else jnp.zeros((), jnp.int64)
        return (each * weight).sum() / weight.sum(), (hits, means)

    def step(state: Any, batch: Any, rate: Any) -> Any:
        parameters, means, slots, count, key = state
        count, key = count + 1, jax.random.fold_in(key, 1) if extras.dropout else key
        of = x[batch], y[batch], weight[batch]
        (loss, (hits, means)), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, means, *of, key)
        if extras.optimizer == "sgd":
            parameters = jax.tree.map(lambda w, dw: w - rate * dw, parameters, gradients)
        else:
            m, v = slots
            m = jax.tree.map(lambda m, dw: 0.9 * m + 0.1 * dw, m, gradients)
            v = jax.tree.map(lambda v, dw: 0.999 * v + 0.001 * dw * dw, v, gradients)
            t = count.astype(dtype)
            first, second = 1 - 0.9**t, 1 - 0.999**t

            def moved(w: Any, m: Any, v: Any) -> Any:
                return w - rate * decay * w - rate * (m / first) / (jnp.sqrt(v / second) + 1e-8)

            parameters, slots = jax.tree.map(moved, parameters, m, v), (m, v)
        return (parameters, means, slots, count, key), (loss * of[2].sum(), hits)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any, rates: Any) -> Any:
        steps, rest = divmod(rows, batch_size)
        cut = order[: steps * batch_size].reshape(steps, batch_size)
        state, (losses, hits) = lax.scan(lambda state, both: step(state, *both), state, (cut, rates[:steps]))
        total, right = losses.sum(), hits.sum()
        if rest:
            state, (loss, hit) = step(state, order[steps * batch_size :], rates[steps])
            total, right = total + loss, right + hit
        return state, total / weight.sum(), right / rows

    parameters = []
    for i, (W, b) in enumerate(layers_of(problem)):
        normal = extras.batch_norm and i < len(problem.sizes) - 2
        ones, zeros = np.ones(W.shape[1], dtype), np.zeros(W.shape[1], dtype)
        parameters.append({"W": W} | ({"gamma": ones, "beta": zeros} if normal else {"b": b}))
    parameters = jax.tree.map(jnp.asarray, parameters)
    means = [jnp.zeros((2, size), dtype).at[1].set(1) for size in problem.sizes[1:-1]] if extras.batch_norm else []
    slots = tuple(jax.tree.map(jnp.zeros_like, parameters) for _ in range(2 if extras.optimizer != "sgd" else 0))
    state: Any = (parameters, means, slots, jnp.zeros((), jnp.int64), jax.random.key(0))
    shuffles, done = np.random.default_rng(0), 0

    def train(epochs: int, shuffle: bool) -> list[float]:
        nonlocal state, done
        found = []
        for _ in range(epochs):
            order = shuffles.permutation(rows) if shuffle else np.arange(rows)
            state, loss, accuracy = epoch(state, order, problem.rates(done, problem.steps).astype(dtype))
            done += problem.steps
            found.append((loss, accuracy))
        accuracies = [float(accuracy) for _, accuracy in found] if extras.accuracy else []
        return [float(loss) for loss, _ in found] + accuracies

    return train


def keras(problem: Problem) -> Train:
    """model.fit on Keras's JAX backend, whose step is jitted."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    jax.config.update("jax_enable_x64", True)
    import keras

    keras.config.set_floatx(str(problem.x.dtype))
    extras, classes = problem.extras, problem.loss == "cce"
    net: Any = keras.Sequential([keras.Input((problem.sizes[0],))])
    for i, (name, (W, _)) in enumerate(zip(activations_of(problem), layers_of(problem))):
        last = i == len(problem.sizes) - 2
        net.add(keras.layers.Dense(W.shape[1], use_bias=last or not extras.batch_norm))
        if not last and extras.batch_norm:
            net.add(keras.layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=EPSILON))
        if not (last and classes) and name != "identity":
            net.add(keras.layers.Activation(name))
        if not last and extras.dropout:
            net.add(keras.layers.Dropout(extras.dropout))
    dense = [layer for layer in net.layers if isinstance(layer, keras.layers.Dense)]
    for layer, (W, b) in zip(dense, layers_of(problem)):
        layer.set_weights([W, b][: 1 + layer.use_bias])
    rate = keras.optimizers.schedules.CosineDecay(problem.lr, extras.cosine) if extras.cosine else problem.lr
    optimizer = {
        "sgd": keras.optimizers.SGD,
        "adam": partial(keras.optimizers.Adam, epsilon=1e-8),
        "adamw": partial(keras.optimizers.AdamW, epsilon=1e-8, weight_decay=DECAY),
    }[extras.optimizer](learning_rate=rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if classes else "mse"
    net.compile(optimizer, loss, weighted_metrics=["accuracy"] if extras.accuracy else [], jit_compile=True)

    def train(epochs: int, shuffle: bool) -> list[float]:
        options = {"batch_size": problem.batch_size, "epochs": epochs, "shuffle": shuffle, "verbose": 0}
        history = net.fit(problem.x, problem.y, sample_weight=problem.weight, **options).history
        return [float(value) for value in history["loss"] + history.get("accuracy", [])]

    return train


def torch_net(problem: Problem) -> tuple[Any, Any]:
    """The net with the first weights, without the softmax, which PyTorch's cross_entropy has inside; the loss."""
    import torch
    from torch import nn

    kinds, extras = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}, problem.extras
    layers: list[Any] = []
    for i, (name, (W, b)) in enumerate(zip(activations_of(problem), layers_of(problem))):
        hidden, (W, b) = i < len(problem.sizes) - 2, map(torch.from_numpy, (W.T.copy(), b.copy()))
        linear = nn.Linear(*W.T.shape, bias=not (hidden and extras.batch_norm))  # its weight is (outputs, inputs)
        linear.weight, linear.bias = nn.Parameter(W), None if linear.bias is None else nn.Parameter(b)
        layers.append(linear)
        if hidden and extras.batch_norm:
            layers.append(nn.BatchNorm1d(len(b), EPSILON, MOMENTUM, dtype=b.dtype))
        layers += [kinds[name]()] if name in kinds else []
        if hidden and extras.dropout:
            layers.append(nn.Dropout(extras.dropout))
    return nn.Sequential(*layers), nn.functional.cross_entropy if problem.loss == "cce" else nn.functional.mse_loss


def torch_batches(problem: Problem, shuffle: bool) -> Any:
    """The row numbers of each batch of an epoch; None for one that is all rows."""
    import torch

    if problem.full_batch:
        return [None]
    rows = len(problem.x)
    return (torch.randperm(rows) if shuffle else torch.arange(rows)).split(problem.batch_size)
