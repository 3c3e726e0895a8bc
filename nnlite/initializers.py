"""First weights: functions (rng, shape) -> array, for a weight matrix of shape (inputs, outputs).

They are drawn on the host in float64, so that one seed gives the same network on every device and in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .gate import choose, number

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def uniform(low: float = -1.0, high: float = 1.0) -> Initializer:
    """An initializer that draws from U(low, high).

    crysx_nn's random1, random2, random3 are uniform(0, 1), uniform(-0.3, 0.3), uniform(-1, 1).
    """
    low, high = number(low, "low"), number(high, "high")
    if low > high:
        raise ValueError(f"low={low} must not be above high={high}")
    return lambda rng, shape: rng.uniform(low, high, shape)


def xavier_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(−1/√n, 1/√n) for n inputs: what crysx_nn means by this name. Glorot's is `glorot_uniform`."""
    limit = 1 / np.sqrt(shape[0])
    return rng.uniform(-limit, limit, shape)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(−a, a), a = √(6 / (inputs + outputs)): keeps the variance forward and backward (Glorot and Bengio 2010)."""
    limit = np.sqrt(6 / (shape[0] + shape[1]))
    return rng.uniform(-limit, limit, shape)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 2 / (inputs + outputs)) (Glorot and Bengio 2010)."""
    return rng.standard_normal(shape) * np.sqrt(2 / (shape[0] + shape[1]))


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(−a, a), a = √(6 / inputs): for ReLU, which passes half of its inputs (He et al. 2015)."""
    limit = np.sqrt(6 / shape[0])
    return rng.uniform(-limit, limit, shape)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 2 / inputs): for ReLU (He et al. 2015)."""
    return rng.standard_normal(shape) * np.sqrt(2 / shape[0])


def lecun_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 1 / inputs): for tanh and units of variance 1 (LeCun et al. 1998)."""
    return rng.standard_normal(shape) * np.sqrt(1 / shape[0])


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All 0: for biases. Hidden units with equal weights would stay equal for ever."""
    return np.zeros(shape)


INITIALIZERS: dict[str, Initializer] = {
    "uniform": uniform(),
    "xavier_uniform": xavier_uniform,
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "zeros": zeros,
}


def initializer(init: str | Initializer) -> Initializer:
    """An initializer by its name, or the function itself."""
    return init if callable(init) else choose(INITIALIZERS, init, "init")
