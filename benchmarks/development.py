"""The tables that defaults are chosen on: made ones, and others that judge nothing. No test row of the judging splits.

A table is a name, rows to learn from and rows to be measured by. Regressions: ten made functions, with and without noise,
outliers, steps, irrelevant inputs; a table of scikit-learn's; and of CHAINRULE_DATA thermodynamic properties, and the splits
5 to 9 of the small UCI tables (0 to 4 judge). Classifications: made ones of known noise, scikit-learn's, and UCI's cut at the
median. Wide ones are made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA = Path(os.environ.get("CHAINRULE_DATA", Path(__file__).parents[2] / "shared" / "data"))
UCI = {
    "yacht": 5,
    "energy": 3,
    "concrete": 3,
    "wine-quality-red": 3,
    "kin8nm": 1,
    "power-plant": 1,
}  # and how many splits
THERMO = {"water_liquid": 0, "water_supercritical": 3, "wetbulb": 0, "ngas": 1}  # and which column of Y
MANY = 3000  # rows of a table that are taken at the most, of those that are cut anew
TWICE = 2  # splits, or draws, of a made table


class Table(NamedTuple):
    """Rows to learn from, and others."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_other: np.ndarray
    y_other: np.ndarray


def cut(name: str, X, y, seed: int, share: float = 0.2) -> Table:
    order = np.random.default_rng(seed).permutation(len(y))[:MANY]
    other, own = np.split(order, [int(len(order) * share)])
    return Table(name, X[own], y[own], X[other], y[other])


def first(n: int, name: str, X, y) -> Table:
    """The first n rows are learned from, the others measure."""
    return Table(name, X[:n], y[:n], X[n:], y[n:])


def within(rng, n: int, *ranges: tuple[float, float]):
    """Inputs (n, d), each uniform between two numbers."""
    low, high = np.array(ranges).T
    return low + (high - low) * rng.random((n, len(ranges)))


def friedman(rng, n: int = 1000, d: int = 10):
    X = rng.random((n, d))
    f = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return X, f + rng.standard_normal(len(X))


def borehole(rng):
    """Flow of water through a borehole (Harper and Gupta 1983): eight inputs, no noise."""
    X = within(rng, 600, (0.05, 0.15), (100, 5e4), (63070, 115600), (990, 1110), (63.1, 116), (700, 820), (1120, 1680),
               (9855, 12045))  # fmt: skip
    r_w, r, T_u, H_u, T_l, H_l, L, K = X.T
    log = np.log(r / r_w)
    return X, 2 * np.pi * T_u * (H_u - H_l) / (log * (1 + 2 * L * T_u / (log * r_w**2 * K) + T_u / T_l))


def circuit(rng):
    """Mid-point voltage of an output-transformerless push-pull circuit (Ben-Ari and Steinberg 2007): no noise."""
    X = within(rng, 300, (50, 150), (25, 70), (0.5, 3), (1.2, 2.5), (0.25, 1.2), (50, 300))
    R_b1, R_b2, R_f, R_c1, R_c2, beta = X.T
    V, b = 12 * R_b2 / (R_b1 + R_b2), beta * (R_c2 + 9)
    return X, (V + 0.74) * b / (b + R_f) + 11.35 * R_f / (b + R_f) + 0.74 * R_f * b / ((b + R_f) * R_c1)


def sparse(rng):
    X = rng.standard_normal((1500, 50))
    f = np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2 + np.abs(X[:, 3]) + X[:, 4] * 0.5
    return X, f + 0.5 * rng.standard_normal(len(X))


def lognormal(rng):
    X = rng.standard_normal((2000, 6))
    return X, np.exp(1.5 * X[:, 0] * np.sin(X[:, 1]) + X[:, 2] + 0.3 * rng.standard_normal(len(X)))


def steps(rng):
    X = np.round(rng.random((2000, 8)) * np.array([3, 5, 7, 20, 1000, 1, 2, 10]))
    f = (X[:, 0] > 1) * 3.0 + (X[:, 3] > 7) * (X[:, 4] > 400) * 4 + X[:, 6] * (X[:, 5] - 0.5)
    return X, f + np.where(X[:, 7] % 2 == 0, 1, -1) + 0.5 * rng.standard_normal(len(X))


def noisy(rng):
    X = rng.standard_normal((1000, 12))
    return X, X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + 2.5 * rng.standard_normal(len(X))


def straight(rng):
    X = rng.standard_normal((400, 15))
    return X, X @ rng.standard_normal(15) + 0.5 * rng.standard_normal(len(X))


def heavy(rng):
    X = np.exp(2 * rng.standard_normal((3000, 6)))
    f = np.log1p(X[:, 0]) * np.tanh(np.log(X[:, 1])) + np.sqrt(X[:, 2]).clip(0, 5)
    return X, f + 0.3 * rng.standard_normal(len(X))


def waves(rng):
    X = rng.uniform(-1, 1, (3000, 3))
    return X, np.sin(12 * X[:, 0]) + np.cos(8 * X[:, 1] * X[:, 2]) + 0.1 * rng.standard_normal(len(X))


MADE = (friedman, borehole, circuit, sparse, lognormal, steps, noisy, straight, heavy, waves)


def uci(name: str, split: int) -> Table:
    assert split >= 5, "the splits 0 to 4 judge"
    held = np.load(DATA / "uci" / f"{name}.npz")
    X, y = held["X"].astype(np.float64), held["y"].astype(np.float64)
    own, other = held[f"train_{split}"], held[f"test_{split}"]
    return Table(name, X[own], y[own], X[other], y[other])


def regressions() -> Iterator[Table]:
    for make in MADE:
        for seed in range(TWICE):
            yield cut(make.__name__, *make(np.random.default_rng(1000 + seed)), seed)
    from sklearn.datasets import load_diabetes

    held = load_diabetes()
    yield from (cut("diabetes", held.data, held.target, seed) for seed in range(TWICE))
    for name, column in THERMO.items():
        held = np.load(DATA / "thermo" / f"{name}.npz")
        X = held["X"] if "X" in held else np.column_stack([held["p"], held["T"]])
        yield from (cut(name, X, held["Y"][:, column], seed) for seed in range(TWICE))
    for name, count in UCI.items():
        yield from (uci(name, 5 + k) for k in range(count))


def overlap(rng, m: int, strength: float):
    """Inputs of two classes that overlap, the class drawn for each row, and the log odds of the second."""
    d = int(rng.integers(3, 20))
    X = rng.standard_normal((m, d))
    f = np.tanh(X @ (rng.standard_normal((d, 6)) / d**0.5)) @ rng.standard_normal(6) + 0.5 * X[:, 0] * X[:, 1]
    drawn = rng.random(m)
    odds = strength * f / f.std() + rng.normal()
    return X, (drawn < 1 / (1 + np.exp(-odds))).astype(int), odds


def two_classes(rng, n: int, strength: float) -> Table:
    X, y, _ = overlap(rng, n + 8000, strength)
    return first(n, f"two classes, n {n}, {'clear' if strength > 1 else 'noisy'}", X, y)


def six_classes(rng) -> Table:
    X = rng.standard_normal((12_000, 8))
    F = np.tanh(X @ rng.standard_normal((8, 6))) * 1.5
    y = (F + rng.gumbel(size=F.shape)).argmax(axis=1)
    return first(4000, "six classes, noisy", X, y)


def rare(rng) -> Table:
    X = rng.standard_normal((10_000, 20))
    y = (X[:, 0] + np.abs(X[:, 1]) - X[:, 2] * X[:, 3] > 2.2).astype(int)
    return first(2000, "a rare class", X, y)


def classifications() -> Iterator[Table]:
    from sklearn import datasets

    for seed in range(TWICE):
        for n in (300, 1500, 6000):
            for strength in (0.7, 2.0):
                yield two_classes(np.random.default_rng(100 * n + seed), n, strength)
        yield six_classes(np.random.default_rng(seed))
        yield rare(np.random.default_rng(50 + seed))
        for name in ("iris", "wine", "breast_cancer", "digits"):
            held = getattr(datasets, f"load_{name}")()
            yield cut(name, held.data, held.target, seed, 0.4)
        for name in ("concrete", "wine-quality-red", "energy", "yacht"):
            table = uci(name, 5 + seed)
            middle = np.median(table.y)
            yield table._replace(
                name=f"{name}, halves",
                y=(table.y > middle).astype(int),
                y_other=(table.y_other > middle).astype(int),
            )


def wide() -> Iterator[Table]:
    """Made tables of many columns, of which few say something, or less and less, or all."""
    from sklearn.datasets import make_classification

    for seed in range(TWICE):
        rng = np.random.default_rng(500 + seed)
        X = rng.standard_normal((3000, 100))
        noise = rng.standard_normal(len(X))
        yield first(1000, "3 of 100", X, X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * noise)
        yield first(400, "10 of 100, straight", X, X[:, :10] @ rng.standard_normal(10) + noise)
        yield first(1000, "40, less and less", X[:, :40], np.sin(2 * X[:, :40]) @ 0.85 ** np.arange(40) + 0.5 * noise)
        F = np.tanh(1.5 * X[:, :60] @ rng.standard_normal((60, 8)) / 60**0.5)
        yield first(1000, "60 of 60", X[:, :60], F @ rng.standard_normal(8) + 0.3 * noise)
        Z = X[:, :8]
        mixed = Z @ rng.standard_normal((8, 100)) / 8**0.5 + 0.3 * rng.standard_normal((len(X), 100))
        yield first(1000, "100 of 8", mixed, np.sin(2 * Z[:, 0]) + Z[:, 1] * Z[:, 2] + Z[:, 3] + 0.3 * noise)
        yield cut("5 of 50", *friedman(rng, 3000, 50), seed, 0.8)
        for useful, columns in ((5, 100), (10, 100), (20, 60)):
            X, y = make_classification(
                4000, columns, n_informative=useful, n_redundant=0, flip_y=0.02, random_state=70 + seed
            )
            yield first(1000, f"{useful} of {columns}, classes", X, y)
        X = rng.standard_normal((3000, 300))
        y = 3 * X[:, 0] + X[:, 1] - 2 * X[:, 2] + 0.5 * rng.standard_normal(len(X))
        yield first(80, "3 of 300, 80 rows", X, y)
