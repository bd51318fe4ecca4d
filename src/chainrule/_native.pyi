from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chainrule.functions import Objective
from chainrule.images import Augmentation
from chainrule.optimizers import Settings, State

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
    objective: Objective,
    weight: Floats | None,
    n_threads: int,
) -> float: ...
def loss_and_gradient(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    objective: Objective,
    weight: Floats | None,
    n_threads: int,
) -> tuple[float, Floats]: ...
def run_epochs(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    weight: Floats | None,
    settings: Settings,
    rates: Doubles,
    state: State,
    epochs: int,
    n_threads: int,
) -> tuple[list[float], str]: ...
def jacobian(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int
) -> Floats: ...
def parameter_jacobian(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int
) -> Floats: ...
def distort(
    X: npt.NDArray[np.generic], augment: Augmentation, seed: int, epoch: int, out: Floats, n_threads: int
) -> None: ...
def normal_equations(
    theta: Doubles,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Doubles,
    weight: Doubles | None,
    precision: Doubles,
    n_threads: int,
) -> tuple[Doubles, Doubles]: ...
def least_squares_step(
    theta: Doubles,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Doubles,
    weight: Doubles | None,
    decay: Doubles,
    beta: Doubles,
    damping: float,
    group: npt.NDArray[np.int64] | None,
    alpha: Doubles | None,
    known: Doubles,
    n_threads: int,
) -> tuple[Doubles | None, float, tuple[float, float, Doubles, Doubles] | None]: ...
def factor(matrix: Doubles, diagonal: Doubles) -> Doubles | None: ...
def solve(U: Doubles, b: Doubles) -> Doubles: ...
def inverse_diagonal(U: Doubles) -> Doubles: ...
def plain_predict(theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: object) -> Floats | None: ...
def plain_loss_and_gradient(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: object, L: object, objective: Objective
) -> tuple[float, Floats] | None: ...
def evaluate(activation: str, x: Floats) -> tuple[Floats, Floats]: ...
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def select(name: str) -> None: ...
def use_every_thread(always: bool) -> None: ...
def random_bits(seed: int, stream: int, first: int, n: int) -> npt.NDArray[np.uint64]: ...
def permutation(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]: ...
