"""Functions of one number: exp, tanh, ln x and ln(1 + e), written so that a loop over them becomes vector instructions.

Numba has had no vector functions of its own since 0.62. The ranges and coefficients of exp are from Moshier's Cephes
(expf and exp). Each function has a version for float32 and one for float64. Compiled code calls both by one name, and
the type of the argument chooses the version.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from .compiling import exactly


def exp_negative(x):
    """eˣ for x ≤ 0; a stable formula needs no other x. Results below the smallest normal number are 0."""
    raise NotImplementedError


def tanh_of(x):
    """tanh x.

    In float32 it is x P(x²)/Q(x²), fitted for the least relative error (2e-8 before rounding). In float64 it is a
    rational function near 0 (Cephes), and (1 − e) / (1 + e) with e = e^(−2|x|) for larger |x|.
    """
    raise NotImplementedError


def log_one_plus(e):
    """ln(1 + e) = 2 artanh(e / (2 + e)) for −0.3 ≤ e ≤ 1, by the series of artanh."""
    raise NotImplementedError


def log_of(x):
    """ln x = n ln 2 + ln(1 + e) for x = 2ⁿ (1 + e), where 1 + e lies between √½ and √2. ln 0 = −∞; ln −1 is NaN."""
    raise NotImplementedError


@exactly
def _exp32(x):
    lowest = np.float32(-87.33)
    z = lowest if x < lowest else x
    n = np.floor(z * np.float32(1.44269504088896341) + np.float32(0.5))
    r = z - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2ⁿ, made from its bits
    return np.float32(0) if x < lowest else p * power


@exactly
def _exp64(x):
    lowest = -708.39
    z = lowest if x < lowest else x
    n = np.floor(z * 1.4426950408889634 + 0.5)
    r = z - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
    rr = r * r
    p = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr + 1.0)
    q = ((3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3) * rr + 2.27265548208155028766e-1) * rr + 2.0
    power = np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return 0.0 if x < lowest else (1.0 + 2.0 * (p / (q - p))) * power


@exactly
def _log32(e):
    s = e / (np.float32(2) + e)
    z = s * s
    p = np.float32(1 / 15)
    for k in (13, 11, 9, 7, 5, 3):
        p = p * z + np.float32(1) / np.float32(k)
    return np.float32(2) * (p * z * s + s)


@exactly
def _log64(e):
    s = e / (2.0 + e)
    z = s * s
    p = 1 / 35
    for k in (33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3):
        p = p * z + 1.0 / k
    return 2.0 * (p * z * s + s)


@exactly
def _log_of32(x):
    small = x < np.float32(1.17549435e-38)  # below the smallest normal number: its bits do not show n
    normal = x * np.float32(2**23) if small else x
    bits = np.float32(normal).view(np.int32)
    n = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))  # the bits of √½
    e = np.int32(bits - np.int32(n << np.int32(23))).view(np.float32) - np.float32(1)
    power = np.float32(n) - (np.float32(23) if small else np.float32(0))
    y = power * np.float32(0.693359375) + (power * np.float32(-2.12194440e-4) + _log32(e))
    special = np.float32(-np.inf) if x == 0 else (x if x > 0 else np.float32(np.nan))
    return y if np.float32(0) < x < np.float32(np.inf) else special


@exactly
def _log_of64(x):
    small = x < 2.2250738585072014e-308
    normal = x * 2.0**54 if small else x
    bits = np.float64(normal).view(np.int64)
    n = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
    e = np.int64(bits - (n << np.int64(52))).view(np.float64) - 1.0
    power = np.float64(n) - (54.0 if small else 0.0)
    y = power * 6.93145751953125e-1 + (power * 1.42860682030941723212e-6 + _log64(e))
    special = -np.inf if x == 0 else (x if x > 0 else np.nan)
    return y if 0.0 < x < np.inf else special


@exactly
def _tanh32(x):
    most = np.float32(9.02)  # from here on, tanh x rounds to 1
    x = most if x > most else (-most if x < -most else x)
    z = x * x
    p = np.float32(1.332290622888321e-8) * z + np.float32(2.058663052744462e-5)
    p = p * z + np.float32(3.494241897700817e-3)
    p = p * z + np.float32(1.3379897807072093e-1)
    p = p * z + np.float32(0.99999997971482125)
    q = np.float32(7.7637027685819448e-7) * z + np.float32(3.2834207856270493e-4)
    q = q * z + np.float32(2.5871878285836394e-2)
    q = q * z + np.float32(4.6713213355403474e-1)
    q = q * z + np.float32(1)
    y = x * p / q
    return np.float32(1) if y > np.float32(1) else (np.float32(-1) if y < np.float32(-1) else y)  # at most ±1


@exactly
def _tanh64(x):
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x * z * (p / q) + x
    e = _exp64(-2.0 * abs(x))
    far = (1.0 - e) / (1.0 + e)
    return near if abs(x) < 0.625 else (-far if x < 0 else far)


@overload(exp_negative)
def _(x):
    return (lambda x: _exp32(x)) if x == types.float32 else (lambda x: _exp64(x))


@overload(log_one_plus)
def _(e):
    return (lambda e: _log32(e)) if e == types.float32 else (lambda e: _log64(e))


@overload(log_of)
def _(x):
    return (lambda x: _log_of32(x)) if x == types.float32 else (lambda x: _log_of64(x))


@overload(tanh_of)
def _(x):
    return (lambda x: _tanh32(x)) if x == types.float32 else (lambda x: _tanh64(x))


@exactly
def sigmoid_of(x):
    one = type(x)(1)
    e = exp_negative(-abs(x))
    return (one if x >= 0 else e) / (one + e)


@exactly
def difference(a, b):
    """a − b, which must not be reordered into a sum around it: for z = 1e8, (z − highest) would lose its digits."""
    return a - b


@exactly
def cross_entropy_of(z, t):
    """max(z, 0) − z t + ln(1 + e^−|z|), added in this order."""
    zero = type(z)(0)
    return (zero if z < zero else z) - z * t + log_one_plus(exp_negative(-abs(z)))
