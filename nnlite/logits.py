"""Logits: whether a loss is computed from the values before the last activation, and whether it fits the network."""

from __future__ import annotations

import copy

from .activations import Identity, ReLU, Sigmoid, Softmax, Softplus, Tanh, TanhOffset
from .blocks import Chain
from .layers import Dense
from .losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from .network import Sequential


def from_logits(network: Sequential, loss: Loss) -> tuple[Loss, int]:
    """The loss to compute, from logits where possible, and the number of layers before it.

    ValueError if the network's last layer does not fit the loss.
    """
    last, depth = network.layers[-1], len(network.layers)
    inside = type(last) is Chain  # whose last activation is not computed inside the loss
    while type(last) is Chain:
        last = last.layers[-1]
    kind, link = type(loss).__name__, loss.link
    if network.outputs == 1 and (loss.target == "class" or isinstance(last, Softmax)):
        what = "the network ends in Softmax over a single output, which is always 1"
        if loss.target == "class":
            what = f"{kind} needs one output for each class, but the network has a single one"
        raise ValueError(f"{what}: for two classes end it in Sigmoid() and use BinaryCrossEntropy")
    if link is None:
        return loss, depth
    if loss.from_logits and isinstance(last, (Sigmoid, TanhOffset, Softmax)):
        what = f"has {link.__name__} inside: take it"
        if not isinstance(last, link):
            what = f"expects values before the {link.__name__}: take {last!r}"
        raise ValueError(f"{kind}(from_logits=True) {what} from the network's end")
    if isinstance(last, link):
        if inside or type(loss).kernel not in (BinaryCrossEntropy.kernel, CategoricalCrossEntropy.kernel):
            return loss, depth  # a user's own formula may expect probabilities
        stable = copy.copy(loss)
        stable.from_logits = True
        return stable, depth - 1
    strange: tuple[type, ...] = (Dense, ReLU, Identity, Softplus, Tanh)
    if loss.target == "class":
        strange += (Sigmoid, TanhOffset)  # the loss would be least with every output at 1
    if not loss.from_logits and isinstance(last, strange):
        each = isinstance(last, (Sigmoid, TanhOffset))
        wanted = "probabilities that sum to 1" if each else "probabilities"
        remedy = "use BinaryCrossEntropy for outputs that are each a yes or no" if each else "take from_logits=True"
        raise ValueError(
            f"{kind} expects {wanted}, but the network ends in {last!r}: end it in {link.__name__}(), or {remedy}"
        )
    return loss, depth
