"""The counter-based generator that the C++ core shares, number for number (core/random.hpp).

Random bits are a function of a seed, a stream and a counter, so any of them can be had at once, in any order, on any
machine: the initial values of a layer, the order of the rows in an epoch, what dropout keeps. It is not for cryptography.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GOLDEN = 0x9E3779B97F4A7C15
WORD = 0xFFFFFFFFFFFFFFFF
SHUFFLE = 1 << 32  # the streams of shuffling begin here, one an epoch; those below are for initial values, one a layer
DROPOUT = 1 << 33  # and those of dropout here, one an epoch
AUGMENT = 1 << 34  # and those of what images are distorted by, one an epoch


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_bits(seed: int, stream: int, first: int, n: int) -> npt.NDArray[np.uint64]:
    """64 random bits each for the counters first .. first + n - 1; (n,)."""

    def one(x: int) -> int:
        return int(_mix(np.array([x & WORD], dtype=np.uint64))[0])

    return _of_key(one(one(seed + GOLDEN) + (stream + 1) * GOLDEN), first, n)


def _of_key(key: int, first: int, n: int) -> npt.NDArray[np.uint64]:
    counters = np.arange(first + 1, first + n + 1, dtype=np.uint64)
    positions: npt.NDArray[np.uint64] = np.uint64(key) + counters * np.uint64(GOLDEN)
    return _mix(positions)


def uniform(seed: int, stream: int, n: int) -> npt.NDArray[np.float64]:
    """Numbers of [0, 1), multiples of 2^-53; (n,)."""
    bits: npt.NDArray[np.uint64] = random_bits(seed, stream, 0, n) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def draws(seed: int, epoch: int, row: int, n: int) -> npt.NDArray[np.float64]:
    """Numbers of [−1, 1) by which image number `row` is distorted in an epoch; (n,)."""
    key = int(random_bits(seed, AUGMENT + epoch, row, 1)[0])
    return (_of_key(key, 0, n) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1


def fingerprints(rows: npt.NDArray[np.generic]) -> npt.NDArray[np.uint64]:
    """Return a number for each row of numbers (n, d), the same where rows are; else, but for 1 in 2^64, another; (n,)."""
    prints = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        prints = _mix(prints + np.uint64(GOLDEN) ^ column.astype(np.float64).view(np.uint64))
    return prints


def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """The order of n rows in an epoch (Fisher, Yates): place i takes what stands at a random place j <= i; (n,)."""
    half = np.uint64(32)
    high: npt.NDArray[np.uint64] = random_bits(seed, SHUFFLE + epoch, 0, n) >> half
    counts = np.arange(1, n + 1, dtype=np.uint64)
    places = np.right_shift(np.multiply(high, counts), half).tolist()
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = places[i]
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)


def _mix32(x: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A finaliser of 32 bits (Wellons 2018), which the kernels run on vectors."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def kept(seed: int, epoch: int, number: int, count: int, p: float) -> npt.NDArray[np.bool_]:
    """Which of `count` values dropout keeps (67), each with probability 1 − p; (count,).

    `number` tells apart the batches of an epoch and the layers of a network: batch · depth + layer, all from 0.
    """
    key = int(random_bits(seed, DROPOUT + epoch, number, 1)[0])
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    places = np.arange(count, dtype=np.uint64).astype(np.uint32)  # beyond 2^32 they begin anew
    return np.asarray(_mix32(_mix32(places + low) + high) >= np.uint32(int(p * 2.0**32)))
