"""First weights: functions (rng, shape) -> array, for a weight matrix (inputs, outputs), or for biases (outputs,).

They are drawn on the host in float64, so that one seed gives the same network on every device and in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from . import elsewhere
from .gate import choose, number

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def uniform(low: float = -1.0, high: float = 1.0) -> Initializer:
    """An initializer that draws from U(low, high).

    crysx_nn's random1, random2, random3 are uniform(0, 1), uniform(-0.3, 0.3), uniform(-1, 1).
    """
    low, high = number(low, "low"), number(high, "high")
    if low > high:
        raise ValueError(f"low={low} must not be above high={high}")
    return partial(_uniform, low=low, high=high)  # a function of the module, so that a network can be pickled


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high, shape)


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


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 1 / inputs), in which what is more than 2 deviations from 0 is drawn again: no weight is very large.

    The deviation is that of the numbers which stay. Keras and JAX call it lecun_normal.
    """
    numbers = rng.standard_normal(shape)
    while (far := np.abs(numbers) > 2).any():
        numbers[far] = rng.standard_normal(int(far.sum()))
    return numbers * np.sqrt(1 / shape[0]) / 0.87962566103423978  # the deviation of N(0, 1) between −2 and 2


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Columns, or if there are more of them rows, of length 1 at right angles to each other (Saxe et al. 2014).

    So signals keep their lengths forward and backward. It is the Q of a QR decomposition of normal numbers, with signs
    such that all Q are equally probable (Mezzadri 2007).
    """
    rows, columns = shape
    Q, R = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    Q = Q * np.where(np.diag(R) < 0, -1, 1)
    return np.ascontiguousarray(Q if rows >= columns else Q.T)


def siren(frequency: float = 30.0, first: bool = False) -> Initializer:
    """For layers before Sine(frequency): U(−a, a), a = √(6 / inputs) / frequency (Sitzmann et al. 2020).

    The first layer has a = 1 / inputs, so that sines of many frequencies come out.
    """
    return partial(_siren, frequency=number(frequency, "frequency", above=0), first=bool(first))


def _siren(rng: np.random.Generator, shape: tuple[int, ...], frequency: float, first: bool) -> np.ndarray:
    limit = 1 / shape[0] if first else np.sqrt(6 / shape[0]) / frequency
    return rng.uniform(-limit, limit, shape)


def constant(value: float) -> Initializer:
    """The same number everywhere: for biases."""
    return partial(_constant, value=number(value, "value"))


def _constant(rng: np.random.Generator, shape: tuple[int, ...], value: float) -> np.ndarray:
    return np.full(shape, value)


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
    "truncated_normal": truncated_normal,
    "orthogonal": orthogonal,
    "siren": siren(),
    "siren_first": siren(first=True),
    "zeros": zeros,
}


def checked(init: str | Initializer | float, argument: str) -> str | Initializer | float:
    """An initializer's name or function, or a number as a float; ValueError or TypeError for anything else."""
    initializer(init, argument)
    return init if callable(init) or isinstance(init, str) else float(init)


def initializer(init: str | Initializer | float, argument: str = "init") -> Initializer:
    """An initializer by its name, or the function itself; a number stands for `constant`."""
    if callable(init):
        return init
    if isinstance(init, str):
        return choose(INITIALIZERS, init, argument, elsewhere.INITIALIZERS)
    return constant(number(init, argument))
