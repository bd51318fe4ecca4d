"""Every engine in every test that takes one: the textbook engine, and the native one on each instruction set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from chainrule import engines

SHARED = Path(__file__).parents[2] / "shared" / "data"
NATIVE = engines._native
SETS = engines.instruction_sets()


@dataclass(frozen=True)
class Engine:
    name: str
    isa: str

    def __str__(self) -> str:
        return self.isa or self.name


ENGINES = [Engine("reference", ""), *(Engine("native", isa) for isa in SETS)]


@pytest.fixture(params=ENGINES, ids=str)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    yield from _selected(request.param)


@pytest.fixture(params=ENGINES[1:], ids=str)
def native(request: pytest.FixtureRequest) -> Iterator[Engine]:
    yield from _selected(request.param)


@pytest.fixture
def compiled() -> None:
    """For what runs in a process of its own, which chooses its instruction set itself."""
    if NATIVE is None:
        pytest.skip("the C++ engine is not installed")


def _selected(chosen: Engine) -> Iterator[Engine]:
    if not chosen.isa:
        yield chosen
        return
    before = NATIVE.instruction_set()
    NATIVE.select(chosen.isa)
    assert NATIVE.instruction_set() == chosen.isa
    yield chosen
    NATIVE.select(before)


@pytest.fixture(scope="session", autouse=True)
def every_thread() -> None:
    """Several threads even where the work does not pay for them: the tests' networks are small."""
    if NATIVE is not None:
        NATIVE.use_every_thread(True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mnist() -> Path:
    path = Path(os.environ.get("CHAINRULE_DATA", SHARED)) / "mnist"
    if not path.is_dir():
        pytest.skip("the MNIST files are not here: set CHAINRULE_DATA to a folder that holds mnist/")
    return path


def smooth(n=150, seed=0):
    """A function without noise, such as a simulation's."""
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
    return X, np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2


def stepped(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 20, (n, 2)).astype(float)
    return X, (X[:, 0] > 3) * 2.0 + (X[:, 1] % 2) + 0.1 * rng.normal(size=n)


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def recipes_used(model, least=0.5):
    return [c["recipe"] for c in model.choice_ if c["share"] >= least]
