from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

def predict(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int
) -> Floats: ...
def mean_loss(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    weight: Floats | None,
    n_threads: int,
) -> float: ...
def loss_and_gradient(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    l2: float,
    weight: Floats | None,
    n_threads: int,
) -> tuple[float, Floats]: ...
def run_epochs(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    step: str,
    velocity: Floats,
    square: Floats,
    powers: Doubles,
    batch_size: int,
    epochs: int,
    first_epoch: int,
    rate: float,
    momentum: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    l2: float,
    weight: Floats | None,
    shuffle: bool,
    seed: int,
    n_threads: int,
) -> tuple[list[float], str]: ...
def evaluate(activation: str, x: Floats) -> tuple[Floats, Floats]: ...
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def select(name: str) -> None: ...
def use_every_thread(always: bool) -> None: ...
def random_bits(seed: int, stream: int, first: int, n: int) -> npt.NDArray[np.uint64]: ...
def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]: ...
