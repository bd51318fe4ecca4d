"""Cosine, exponential, logarithm and sums of float64, made of + − × ÷ alone: equal bits on every machine.

NumPy's own differ in the last digit from processor to processor. What a network is given, what it learns, and what it
answers is computed with these, or by the engine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # their sum is ln 2; k times the first of them is exact
SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(11)]  # the next is below 1e-17 at π/2
POWERS = [1 / math.factorial(k) for k in range(15)]  # the next is below 1e-19 at ln 2 / 2
ARTANH = [2.0 / (2 * k + 1) for k in range(12)]  # the next is below 1e-19 at (√2 − 1) / (√2 + 1)
LEAST, MOST = -746.0, 710.0  # beyond, e^x is 0 or infinite


def _series(x: Array, coefficients: list[float]) -> Array:
    y = np.zeros_like(x)
    for c in reversed(coefficients):
        y = y * x + c
    return y


def cosine(t: npt.ArrayLike) -> Array:
    """Cos πt for t in [0, 1], as sin π(½ − t) by the sine's series, whose arguments are π/2 at the most."""
    x = math.pi * (0.5 - np.asarray(t, dtype=np.float64))
    return np.asarray(x * _series(x * x, SINE))


def exponential(x: npt.ArrayLike) -> Array:
    """Return e^x, as 2^k e^r by the series, |r| at most ln 2 / 2."""
    x = np.clip(np.asarray(x, dtype=np.float64), LEAST, MOST)
    k = np.rint(x / LN2_HIGH)
    r = x - k * LN2_HIGH - k * LN2_LOW
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(_series(r, POWERS), np.nan_to_num(k).astype(np.int32)))


def logarithm(x: npt.ArrayLike) -> Array:
    """Return ln x, NaN where x < 0, as k ln 2 + 2 artanh s by the series, of x = 2^k (1 + s) / (1 − s)."""
    x = np.asarray(x, dtype=np.float64)
    m, k = np.frexp(x)
    low = m < math.sqrt(0.5)
    m, k = np.where(low, 2 * m, m), np.where(low, k - 1, k).astype(np.float64)
    with np.errstate(invalid="ignore"):
        s = (m - 1) / (m + 1)
    y = k * LN2_HIGH + (k * LN2_LOW + s * _series(s * s, ARTANH))
    return np.where(x > 0, np.where(np.isinf(x), x, y), np.where(x == 0, -np.inf, np.nan))


def total(values: Array) -> Array:
    """Return the sum of the rows, one after the other: NumPy's own sums depend on the processor."""
    return np.asarray(values.cumsum(axis=0)[-1])
