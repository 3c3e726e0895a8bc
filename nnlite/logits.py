"""Logits: whether a loss is computed from the values before the last activation, and whether it fits the network."""

from __future__ import annotations

import copy

from .activations import ACTIVATIONS, LogSoftmax, Softmax
from .blocks import Chain
from .layers import Dense
from .losses import Loss
from .network import Sequential


def from_logits(network: Sequential, loss: Loss) -> tuple[Loss, int]:
    """The loss to compute, from logits where possible, and the number of layers before it.

    ValueError if the network's last layer does not fit the loss.
    """
    loss, last, depth = loss.apart(), network.layers[-1], len(network.layers)
    inside = type(last) is Chain  # whose last activation is computed before the loss in any case
    while type(last) is Chain:
        last = last.layers[-1]
    kind, link = type(loss).__name__, loss.link
    positive, probabilities = getattr(last, "never_negative", False), getattr(last, "probabilities", False)
    if network.outputs == 1 and (loss.target == "class" or isinstance(last, (Softmax, LogSoftmax))):
        always = f"{type(last).__name__} over a single output, which is always {int(probabilities)}"
        what = f"the network ends in {always}"
        if loss.target == "class":
            what = f"{kind} needs one output for each class, but the network has a single one"
        raise ValueError(f"{what}: for two classes end it in Sigmoid() and use BinaryCrossEntropy")
    if loss.target == "side" and positive:
        raise ValueError(f"{kind} expects values around 0, but the network ends in {last!r}: take it from the end")
    if link is None:
        return loss, depth
    logarithms = isinstance(last, LogSoftmax) and link is Softmax  # their softmax is that of the values before them
    if loss.from_logits and not logarithms and (probabilities if link.probabilities else positive):
        what = f"has {link.__name__} inside: take it"
        if not isinstance(last, link):
            what = f"expects values before the {link.__name__}: take {last!r}"
        raise ValueError(f"{kind}({loss.argument}=True) {what} from the network's end, or take {loss.argument}=False")
    if isinstance(last, link) or logarithms:
        if type(loss).kernel is not Loss.kernel or (inside and not logarithms):
            return loss, depth  # a user's own formula may expect probabilities
        stable = copy.copy(loss)
        stable.from_logits, stable.link, stable.fused = True, LogSoftmax if logarithms else link, True
        return stable, depth - (not inside)
    fits = probabilities if link.probabilities else positive
    each = loss.target == "class" and probabilities and not isinstance(last, Softmax)
    if not loss.from_logits and isinstance(last, (Dense, *ACTIVATIONS.values())) and (each or not fits):
        wanted = "probabilities" if link.probabilities else "rates, which are at least 0"
        wanted += " that sum to 1" if each else ""  # or the loss would be least with every output at 1
        remedy = f"take {loss.argument}=True"
        remedy = "use BinaryCrossEntropy for outputs that are each a yes or no" if each else remedy
        raise ValueError(
            f"{kind} expects {wanted}, but the network ends in {last!r}: end it in {link.__name__}(), or {remedy}"
        )
    return loss, depth
