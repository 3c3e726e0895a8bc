"""How long some work would take as NumPy calls, estimated from sizes alone, so that equal calls get equal answers.

Device "auto" asks for this. It was measured on one core of about 100 GFLOP/s, with nets from 2-3-1 to 784-1024-1024-10:
the estimate is mostly within a factor of two.
"""

from __future__ import annotations

import math
from typing import Any

from .attaching import family

CALL = 10e-6  # seconds for each layer in a step, forward and backward, and for each of three more such
PRODUCT = 0.1e-9  # seconds for each weight and row: a multiplication and an addition forward, and two of both backward
OUTPUT = 10e-9  # seconds for each output of a layer with weights, and for each row: activations, forward and backward
FORWARD = 1 / 3  # the part of all this that forward alone takes


def seconds(network: Any, rows: int, batch: int, training: bool) -> float:
    """The time for so many rows in batches, for training or for forward alone."""
    layers = [part for layer in network.layers for _, part in family(layer)]
    shapes = [shape for layer in layers for shape in layer.shapes.values() if len(shape) > 1]
    calls = -(-rows // batch) * CALL * (3 + len(layers))
    numbers = rows * sum(PRODUCT * math.prod(shape) + OUTPUT * shape[-1] for shape in shapes)
    return (calls + numbers) * (1 if training else FORWARD)
