"""Functions of one number, such as exp and tanh, written so that a loop over them becomes vector instructions.

Numba has had no vector functions of its own since 0.62. The ranges and coefficients of exp, sin, cos and erf are from
Moshier's Cephes. Each function has a version for float32 and one for float64. Compiled code calls both by one name, and
the type of the argument chooses the version.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ..common.activations import ERF_P, ERF_Q, ERF_R, ERF_S
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


def sine_of(x, quarters):
    """sin(x + quarters · π/2), for |x| up to the `most` of `accurate_sine`: with quarters = 1, cos x."""
    raise NotImplementedError


# ---- the bits of a number ------------------------------------------------------------------------------------------
# As LLVM's instructions: NumPy's own way, x.view(np.int32), is a function that Numba would have to compile.


def _bits(builder, x):
    return builder.bitcast(x, ir.IntType(32 if x.type == ir.FloatType() else 64))


def _number(builder, bits):
    return builder.bitcast(bits, ir.FloatType() if bits.type.width == 32 else ir.DoubleType())


def _turned(builder, bits):
    """The bits of a number below 0, all but the sign turned over; those of others as they are."""
    negative = builder.ashr(bits, bits.type(bits.type.width - 1))  # all bits are 1, or 0
    return builder.xor(bits, builder.lshr(negative, bits.type(1)))


def _bitwise(returns, write):
    """A function of one number for compiled code; `returns` has its types: argument -> result."""

    @intrinsic
    def function(typing, x):
        return returns[x](x), lambda context, builder, signature, arguments: write(builder, arguments[0])

    return function


_TO_BITS = {types.float32: types.int32, types.float64: types.int64}
_TO_NUMBER = {bits: number for number, bits in _TO_BITS.items()}

bits_of, of_bits = _bitwise(_TO_BITS, _bits), _bitwise(_TO_NUMBER, _number)

# A whole number that is the larger, the larger x is, and the number that has this place in the order. LLVM finds the
# largest whole number by vectors; of floats it does not, as one may be NaN.
order_of = _bitwise(_TO_BITS, lambda builder, x: _turned(builder, _bits(builder, x)))
number_of = _bitwise(_TO_NUMBER, lambda builder, order: _number(builder, _turned(builder, order)))


# ---- for float32 and for float64 -----------------------------------------------------------------------------------


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
    power = of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))  # 2ⁿ, made from its bits
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
    power = of_bits((np.int64(n) + np.int64(1023)) << np.int64(52))
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
    bits = bits_of(normal)
    n = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))  # the bits of √½
    e = of_bits(np.int32(bits - np.int32(n << np.int32(23)))) - np.float32(1)
    power = np.float32(n) - (np.float32(23) if small else np.float32(0))
    y = power * np.float32(0.693359375) + (power * np.float32(-2.12194440e-4) + _log32(e))
    special = np.float32(-np.inf) if x == 0 else (x if x > 0 else np.float32(np.nan))
    return y if np.float32(0) < x < np.float32(np.inf) else special


@exactly
def _log_of64(x):
    small = x < 2.2250738585072014e-308
    normal = x * 2.0**54 if small else x
    bits = bits_of(normal)
    n = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
    e = of_bits(bits - (n << np.int64(52))) - 1.0
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


@exactly
def _sine32(x, quarters):
    n = np.floor(x * np.float32(0.636619772367581343) + np.float32(0.5))
    r = x - n * np.float32(1.5703125) - n * np.float32(4.837512969970703125e-4) - n * np.float32(7.54978995489188216e-8)
    z = r * r
    s = np.float32(-1.9515295891e-4) * z + np.float32(8.3321608736e-3)
    s = (s * z - np.float32(1.6666654611e-1)) * z * r + r
    c = (np.float32(2.443315711809948e-5) * z - np.float32(1.388731625493765e-3)) * z + np.float32(4.166664568298827e-2)
    c = c * z * z - np.float32(0.5) * z + np.float32(1)
    quadrant = np.int32(n) + np.int32(quarters)
    y = c if quadrant & np.int32(1) else s
    return -y if quadrant & np.int32(2) else y


@exactly
def _sine64(x, quarters):
    n = np.floor(x * 0.636619772367581343 + 0.5)
    r = x - n * 1.57079625129699707031 - n * 7.54978941586159635335e-8 - n * 5.39030285815811905290e-15
    z = r * r
    s = (1.58962301576546568060e-10 * z - 2.50507477628578072866e-8) * z + 2.75573136213857245213e-6
    s = ((s * z - 1.98412698295895385996e-4) * z + 8.33333333332211858878e-3) * z - 1.66666666666666307295e-1
    s = s * z * r + r
    c = (-1.13585365213876817300e-11 * z + 2.08757008419747316778e-9) * z - 2.75573141792967388112e-7
    c = ((c * z + 2.48015872888517045348e-5) * z - 1.38888888888730564116e-3) * z + 4.16666666666665929218e-2
    c = c * z * z - 0.5 * z + 1.0
    quadrant = np.int64(n) + np.int64(quarters)
    y = c if quadrant & np.int64(1) else s
    return -y if quadrant & np.int64(2) else y


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


@overload(sine_of)
def _(x, quarters):
    return (
        (lambda x, quarters: _sine32(x, quarters)) if x == types.float32 else (lambda x, quarters: _sine64(x, quarters))
    )


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


@exactly
def exp_of(x):
    """eˣ for any x: for large ones e² / e^(2 − x), since e^−x would be less than the smallest normal number."""
    zero, one, two = type(x)(0), type(x)(1), type(x)(2)
    large = x > 64
    e = exp_negative((two if large else zero) - abs(x))
    return e if x < 0 else (type(x)(7.38905609893065) if large else one) / e


@exactly
def exp_minus_one(x):
    """eˣ − 1 = tanh(x/2) (eˣ + 1) for x ≤ 0, without cancellation."""
    return tanh_of(type(x)(0.5) * x) * (exp_negative(x) + type(x)(1))


@exactly
def power_of(x, exponent):
    """x to the power of a number that is not negative, for 0 < x ≤ 1."""
    return exp_negative(exponent * log_of(x))


@exactly
def polynomial(coefficients, x):
    """The highest power's coefficient comes first."""
    y = type(x)(0)
    for c in coefficients:
        y = y * x + type(x)(c)
    return y


@exactly
def normal_distribution(x):
    """Φ(x) = ½ (1 + erf(x / √2)), the distribution function of the standard normal distribution."""
    one, six = type(x)(1), type(x)(6)
    z = x * type(x)(0.70710678118654752)
    square, size = min(z * z, one), min(max(abs(z), one), six)  # from 6 on, erf x rounds to 1
    near = z * polynomial(ERF_P, square) / polynomial(ERF_Q, square)
    far = one - exp_negative(-size * size) * polynomial(ERF_R, size) / polynomial(ERF_S, size)
    return type(x)(0.5) * (one + (near if abs(z) < one else (-far if z < 0 else far)))


@exactly
def mish_factor(x):
    """tanh(ln(1 + eˣ)), as a rational function of e^−|x|."""
    one, two = type(x)(1), type(x)(2)
    e = exp_negative(-abs(x))
    n = one + two * e if x > 0 else e * (e + two)
    return n / (n + (two * e * e if x > 0 else two))
