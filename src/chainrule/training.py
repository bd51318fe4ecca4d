"""The loop over epochs: schedule, validation, stopping, history. The loop over batches is the engine's.

fit -> train -> engine.run_epochs -> kernels. All epochs go to the engine in one call, unless something is asked between
them: a validation set, an adaptive schedule, a callback, a stopping rule.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from chainrule import data, engines, reference
from chainrule.data import Floats
from chainrule.evidence import DEAF, Evidence, LeastSquares, check_least_squares, group_parameters
from chainrule.functions import RISING, Objective, choose, objective
from chainrule.images import Augmentation, check_augment
from chainrule.network import GLOROT, Network
from chainrule.optimizers import LEAST_SQUARES, RATE, RATES, State, settings
from chainrule.reference import within_columns
from chainrule.schedules import SCHEDULES, Schedule, check_schedule

SMALLEST_RATE = 1e-6  # an adaptive schedule ends here
MOST_RATES = 1_000_000  # held at once; where there are more steps, the engine is called epoch by epoch


@dataclass
class History:
    """What happened, epoch by epoch.

    Attributes
    ----------
    loss : list of float
        Training loss of each epoch: the mean over its batches, each before its step, and the L2 penalty after the epoch.
    validation : list of float
        Loss on the validation set after each epoch, or at each look, where one was given; without the L2 penalty.
    rate : list of float
        Learning rate of each epoch's first step.
    seconds : list of float
        Duration of each epoch, validation included.
    ending : str
        finished: all epochs were run; converged: the loss stopped falling; stopped: by the callback; interrupted: by
        Ctrl-C.
    best_epoch : int
        The epoch (from 1) whose parameters the network holds.
    state : State
        What the optimizer remembers: pass it to `train` to go on as if there had been no stop.
    hash : str
        The first 16 hex digits of the SHA-256 of the trained parameters' bytes (little-endian), set when `train` ends:
        equal on every machine, as the parameters are; but for lbfgs and for the rates of invscaling.
    evidence : Evidence
        What the data say of the network, by the bayesian solver.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ending: str = "finished"
    best_epoch: int = 0
    state: State | None = None
    hash: str = ""
    evidence: Evidence | None = None

    @property
    def epochs(self) -> int:
        """How many whole epochs were run."""
        return len(self.loss)


Callback = Callable[[History], object]


@dataclass
class Patience:
    """Counts epochs without improvement by `tol`; (scikit-learn's rule, `n_iter_no_change`)."""

    epochs: int
    tol: float
    best: float = np.inf
    waited: int = 0

    def exhausted(self, loss: float) -> bool:
        """Take the loss of one more epoch; True when the patience is at its end."""
        self.waited = self.waited + 1 if loss > self.best - self.tol else 0
        self.best = min(self.best, loss)
        return self.waited > self.epochs


@dataclass
class Best:
    """Keeps the parameters of the epoch with the lowest validation loss."""

    network: Network
    history: History
    lowest: float = np.inf
    epoch: int = 0
    parameters: Floats | None = None

    def look(self) -> None:
        """Compare the last epoch with the best."""
        if self.history.validation[-1] < self.lowest:
            self.lowest, self.epoch = self.history.validation[-1], self.history.epochs
            self.parameters = self.network.parameters.copy()

    def restore(self) -> None:
        """Give the network the parameters of the best epoch, if there was one."""
        if self.parameters is not None:
            self.network.parameters = self.parameters
            self.history.best_epoch = self.epoch


def train(
    network: Network,
    X: npt.ArrayLike,
    L: npt.ArrayLike,
    *,
    loss: str = "half_squared_error",
    solver: str = "sgd",
    batch_size: int = 32,
    learning_rate: float | None = None,
    epochs: int = 10,
    momentum: float = 0.0,
    nesterov: bool = False,
    beta1: float = 0.9,
    beta2: float | None = None,
    epsilon: float = 1e-8,
    l2: float = 0.0,
    delta: float = 1.0,
    quantile: float | Sequence[float] = 0.5,
    label_smoothing: float = 0.0,
    weight_decay: float | None = None,
    clip: float | None = None,
    max_norm: float | None = None,
    adversarial: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    augment: Augmentation | None = None,
    monotone: Sequence[int] | None = None,
    embedding: Sequence[int] | None = None,
    schedule: str = "constant",
    power_t: float = 0.5,
    drop_factor: float = 0.1,
    drop_period: int = 10,
    sample_weight: npt.ArrayLike | None = None,
    shuffle: bool = True,
    seed: int = 0,
    n_threads: int = 1,
    validation: tuple[npt.ArrayLike | None, ...] | None = None,
    watch: str | None = None,
    patience: int | None = None,
    tol: float = 1e-4,
    max_fun: int = 15000,
    groups: Sequence[int] | None = None,
    deaf: int = DEAF,
    callback: Callback | None = None,
    every: int = 1,
    state: State | None = None,
) -> History:
    """Train the network in place: m(t+1) = m(t) − α dε/dm, batch after batch.

    Parameters
    ----------
    network : Network
    X : array, (n, d)
        Inputs, float or uint8 (grey levels, which enter as 0..1). Float32, float64 and uint8 of any strides are read in
        place.
    L : array, (n, k), or (n,) of labels 0..k-1
        What the outputs should be; of the gaussian loss half as many columns as there are outputs. Of several labels some
        may be missing, NaN: these count nothing.
    loss : str, default "half_squared_error"
        half_squared_error, huber and quantile go with any output, binary_cross_entropy with sigmoid, cross_entropy with
        softmax, poisson with exp, gaussian with identity: k means, then the logs of their k variances.
    solver : str, default "sgd"
        sgd: a step after each batch (batch_size=1 is pure stochastic gradient descent); momentum, nesterov: sgd with 0.9
        of it, or what `momentum` says; adam (Kingma and Ba 2015); adamw: with decoupled weight decay (Loshchilov and Hutter
        2019); rmsprop (Tieleman and Hinton 2012); gradient_descent: one step an epoch, with all rows; rprop: so, too,
        each parameter by steps of its own (iRprop−, Igel and Hüsken 2000); lbfgs: SciPy's, full batch, `epochs` iterations.
        Of half the squared error, by all second derivatives that matter, in float64: levenberg_marquardt (Marquardt 1963);
        bayesian: that, with penalties of its own for the weights of each input, of each layer and for biases, as the
        evidence of the data has them (MacKay 1992; Foresee and Hagan 1997), which is then in `history.evidence`.
    batch_size : int, default 32
        Rows a step; the last batch of an epoch may have fewer, and its step is the mean over its own rows.
    learning_rate : float, optional
        α; default 0.1, for adam, adamw and rmsprop 0.001, for rprop 0.01, the length of its first step. Unused by lbfgs.
    epochs : int, default 10
    momentum, nesterov : float, bool
        Of sgd (Polyak 1964; Nesterov 1983, in the form of Sutskever et al. 2013).
    beta1, beta2, epsilon : float
        Of adam and adamw, 0.9, 0.999 and 1e-8; beta2 is also the decay of rmsprop's squares, there 0.99.
    l2 : float, default 0
        λ: ½λ|W|² is added to the loss, over the weights, not the biases.
    delta : float, default 1
        δ of huber: errors up to it count by their square, larger ones by their size.
    quantile : float or sequence of float, default 0.5
        τ of the quantile loss, between 0 and 1; one for all outputs or one each.
    label_smoothing : float, default 0
        Of the cross-entropies: this share of each label is spread over all classes. Not of the validation loss.
    weight_decay : float, optional
        Decoupled: before each step α · weight_decay of each weight is taken off. Default: 0, for adamw 0.01.
    clip : float, optional
        The longest gradient of a batch, penalty not counted; a longer one is scaled to this norm.
    max_norm : float, optional
        The longest vector of weights that enters a hidden unit; after each step a longer one is scaled to this norm.
    adversarial : float, default 0
        Each batch's gradient is the mean of two: of its rows, and of its rows with every input moved by so much, up or down,
        as it makes the row's loss larger (100) (Goodfellow et al. 2015). In units of the inputs, of grey levels 0..1. It asks
        of the network that what it answers holds nearby, and takes some 2.3 times as long.
    dropout : float or sequence of float, default 0
        The share of values that each step sets to 0, at random, of each hidden layer; or one for what enters each layer,
        the input first. The others are scaled up, so that `predict` needs no correction.
    augment : Augmentation, optional
        Rows are images: each is distorted, anew in each epoch, before it enters. Not those of the validation set.
    monotone : sequence of int, (d,), optional
        Of each input: 1 where no output may fall as it rises, −1 where none may rise, 0 for any (98). The activations are to
        be such as never fall. Training then begins with the initial weights' absolute values, those of signed inputs and of
        later layers.
    embedding : sequence of int, (d,), optional
        Of each input the number of its column, 0, 0, ..., 1, ...: the first layer's units are shared out among the columns,
        in equal parts, and see no other column's inputs (99). Training then begins with the other weights at 0, and a
        column's as if it were alone, but for its first unit, which begins as its first input.
    schedule : {"constant", "step", "cosine", "onecycle", "invscaling", "adaptive"}
        step: α times drop_factor after every drop_period epochs; cosine: down to 0 over the steps of this call; onecycle:
        from α/25 up to α in 30 % of the steps, then down to α/250000 (Smith and Topin 2019); invscaling:
        α / (1 + samples seen)^power_t; adaptive: α is divided by 5 each time patience ends.
    power_t, drop_factor, drop_period : float, float, int
        Of invscaling and of step, default 0.5, 0.1 and 10.
    sample_weight : array, (n,), optional
        Scaled to mean 1; a row's loss is multiplied by its weight.
    shuffle : bool, default True
        A new order of the rows each epoch, where a batch has not all of them.
    seed : int, default 0
        Of the shuffling. Equal seeds and settings give equal bits, on any number of threads.
    n_threads : int, default 1
    validation : (X, L) or (X, L, weights), optional
        Its loss is in `history.validation`.
    watch : {"validation", "loss"}, optional
        What decides; default: the validation loss where there is a set. The network then ends with the parameters of the
        epoch where that was lowest.
    patience : int, optional
        Stop when more than this many epochs in a row have not lowered the loss by `tol` (scikit-learn's rule).
    tol : float, default 1e-4
    max_fun : int, default 15000
        Loss evaluations of lbfgs at the most.
    groups : sequence of int, (d,), optional
        Of bayesian: inputs of the same number, 0 and up, share a penalty, as those do that were one column of a table.
        Default: each has its own.
    deaf : int, default 3
        Of bayesian: the first steps, at which the penalties stay as they begin: at the start all inputs seem irrelevant, and
        what is given up then never comes back.
    callback : callable, optional
        Called with the history after each epoch; a true answer ends the training.
    every : int, default 1
        Epochs from one look to the next: at the validation set, for the patience, which counts looks, and of the callback.
    state : State, optional
        `history.state` of an earlier call: go on from there.

    Returns
    -------
    history : History

    Raises
    ------
    ValueError
        For a bad argument or bad data (then a `DataError`, naming row and column).
    FloatingPointError
        When the loss is no longer finite; the network keeps the last parameters that are: those of the last step or,
        where they are not, those from before the epoch.

    Warns
    -----
    UserWarning
        When Ctrl-C ended the training; the network keeps what it learned.

    Examples
    --------
    >>> net = Network([1, 1, 1], seed=1)
    >>> history = train(net, [[0.0], [1.0]], [[0.2], [0.8]], batch_size=1, learning_rate=3.0, epochs=100)
    >>> history.loss[0] > history.loss[-1]
    True
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network; got {type(network).__name__}; an estimator has its own fit")
    if network.activations[-1] == "softmax" and network.sizes[-1] == 1:
        raise ValueError("output='softmax' of one output is always 1: there is nothing to learn; use output='sigmoid'")
    aim = objective(
        loss, network.activations[-1], network.sizes[-1],
        l2=l2, delta=delta, quantile=quantile, label_smoothing=label_smoothing,
    )  # fmt: skip
    rows, labels, weight = network.examples(X, L, sample_weight, aim.loss)
    n = len(rows)
    how = settings(
        aim, solver, rows=n, depth=len(network.layers), batch_size=batch_size, momentum=momentum, nesterov=nesterov,
        beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay, clip=clip, max_norm=max_norm,
        adversarial=adversarial, dropout=dropout, shuffle=shuffle, seed=seed,
        augment=check_augment(augment, network.sizes[0]), monotone=check_monotone(monotone, network),
        embedding=check_embedding(embedding, network),
    )  # fmt: skip
    begin_embedding(network, how.embedding)
    begin_monotone(network, how.monotone)
    epochs = data.check_integer("epochs", epochs, 0, 2**31)
    n_threads = data.check_threads(n_threads)
    tol = data.check_number("tol", tol, 0, np.inf)
    every = data.check_integer("every", every, 1, 2**31)
    rates = Schedule(
        choose("schedule", schedule, SCHEDULES),
        _check_rate(learning_rate, solver),
        epochs,
        -(-n // how.batch_size),
        n,
        data.check_number("power_t", power_t, 0, np.inf, "[)"),
        data.check_number("drop_factor", drop_factor, 0, 1, "(]"),
        data.check_integer("drop_period", drop_period, 1, 2**31),
    )
    check_schedule("schedule", schedule, solver)
    check = _check_validation(network, validation, aim.loss)
    watched = choose("watch", watch or ("validation" if check is not None else "loss"), ("validation", "loss"))
    if watched == "validation" and check is None:
        raise ValueError("watch='validation' needs a validation set: validation=(X, L)")
    waiting = None if patience is None else Patience(data.check_integer("patience", patience, 1, 2**62), tol)
    if state is not None and not isinstance(state, State):
        raise TypeError(f"state must be the `state` of an earlier call's history; got {type(state).__name__}")
    engine = engines.load(network.engine)
    fresh = State.start(how.step, network.parameters, rates.rate)
    history = History(state=state if state is not None else fresh)
    best = Best(network, history) if watched == "validation" else None
    unaltered = replace(aim, smoothing=0.0, l2=0.0)  # what validation measures

    def judge() -> bool:
        """Look at the validation set after an epoch; True when the patience is at its end."""
        history.best_epoch = history.epochs
        if check is not None:
            history.validation.append(
                engine.mean_loss(
                    network.parameters,
                    network.sizes,
                    network.activations,
                    check[0],
                    check[1],
                    unaltered,
                    check[2],
                    n_threads,
                )
            )
        if best is not None:
            best.look()
        return waiting is not None and waiting.exhausted(getattr(history, watched)[-1])

    try:
        if solver in LEAST_SQUARES:
            check_least_squares(solver, aim)
            of = group_parameters(network.sizes, groups) if solver == "bayesian" else None
            history.ending = _least_squares(
                network, (rows, labels, weight), aim, of, judge, callback, history, epochs, n_threads,
                data.check_integer("deaf", deaf, 0, 2**31),
            )  # fmt: skip
            return history
        if solver == "lbfgs":
            doubles = labels.astype(np.float64), None if weight is None else weight.astype(np.float64)

            def loss_of(m: Floats) -> tuple[float, Floats]:
                value, gradient = engine.loss_and_gradient(
                    m, network.sizes, network.activations, rows, doubles[0], aim, doubles[1], n_threads
                )
                return value, gradient

            limits = {"maxiter": epochs, "maxfun": data.check_integer("max_fun", max_fun, 1, 2**62), "gtol": tol}
            _lbfgs(network, loss_of, judge, callback, history, limits)
            return history

        memory = history.state
        assert memory is not None
        if not memory.suits(fresh):
            raise ValueError("state is that of another solver or network; pass one that the same settings returned")
        asked = not (check is None and waiting is None and callback is None and schedule != "adaptive")
        many = schedule != "constant" and epochs * rates.steps > MOST_RATES
        most, before = every if asked else 1 if many else epochs, memory.epochs
        while history.epochs < epochs and history.ending == "finished":
            started, count = time.perf_counter(), min(most, epochs - history.epochs)
            each = rates.rates(history.epochs, count, before)
            losses, ending = engine.run_epochs(
                network.parameters, network.sizes, network.activations, rows, labels, weight, how, each, memory, count,
                n_threads,
            )  # fmt: skip
            memory.epochs += len(losses)
            history.loss += losses
            history.rate += (each[:: rates.steps] if len(each) > 1 else np.repeat(each, count))[: len(losses)].tolist()
            if ending == "diverged":
                raise FloatingPointError(
                    f"training diverged: the loss is not finite in epoch {history.epochs + 1} with "
                    f"learning_rate={rates.rate:g}; try learning_rate={rates.rate / 10:g}, or look for outliers in the "
                    f"data. The network keeps the last finite parameters"
                )
            exhausted = bool(losses) and judge()
            history.seconds += [(time.perf_counter() - started) / max(len(losses), 1)] * len(losses)
            if ending == "interrupted":
                history.ending = ending
            elif exhausted and schedule == "adaptive" and rates.rate > SMALLEST_RATE:
                assert waiting is not None
                rates.rate, waiting.waited = rates.rate / 5, 0
            elif exhausted:
                history.ending = "converged"
            if losses and callback is not None and callback(history) and history.ending == "finished":
                history.ending = "stopped"
    except KeyboardInterrupt:  # between two calls of the engine
        history.ending = "interrupted"
    finally:
        if best is not None:
            best.restore()
        history.hash = _hash(network.parameters)
        _warn_if_interrupted(history, epochs)
    return history


def check_monotone(monotone: Sequence[int] | None, network: Network) -> tuple[int, ...]:
    """Return the sign of each input; empty where all are 0."""
    if monotone is None:
        return ()
    signs = tuple(data.check_integer(f"monotone[{i}]", sign, -1, 1) for i, sign in enumerate(monotone))
    if len(signs) != network.sizes[0]:
        raise ValueError(f"monotone must have a number for each of the {network.sizes[0]} inputs; got {len(signs)}")
    for name in network.activations if any(signs) else ():
        if name not in RISING:
            raise ValueError(
                f"monotone needs activations that never fall: {', '.join(RISING)}; this network has {name}"
            )
    return signs if any(signs) else ()


def check_embedding(embedding: Sequence[int] | None, network: Network) -> tuple[int, ...]:
    """Return the column of each input; empty where there is no embedding."""
    if embedding is None:
        return ()
    columns = np.array([data.check_integer(f"embedding[{i}]", c, 0, 2**31) for i, c in enumerate(embedding)])
    inputs, units = network.sizes[:2]
    if len(columns) != inputs:
        raise ValueError(f"embedding must have a number for each of the {inputs} inputs; got {len(columns)}")
    if columns[0] != 0 or not np.isin(np.diff(columns), (0, 1)).all():
        raise ValueError(f"embedding must number the columns 0, 0, ..., 1, ... in their order; got {list(embedding)}")
    if len(network.layers) < 2 or units % (columns[-1] + 1):
        raise ValueError(
            f"embedding has {columns[-1] + 1} columns, so the first of two or more layers must have that many units, or a "
            f"multiple; this network is {network!r}"
        )
    return tuple(columns.tolist())


def begin_embedding(network: Network, columns: tuple[int, ...]) -> None:
    """Let an embedding's weights begin as (99) has them, if they do not already."""
    if not columns:
        return
    W, _, activation = network.layers[0]
    within = within_columns(columns, len(W))
    if not W[~within].any():
        return
    own, each = within.sum(axis=1), len(W) // (columns[-1] + 1)
    fans = (sum(W.shape) / (own + each)) if activation in GLOROT else W.shape[1] / own
    W[:] = np.where(within, W * np.sqrt(fans)[:, None], 0)
    W[::each] = 0
    W[::each][np.arange(columns[-1] + 1), np.searchsorted(columns, np.arange(columns[-1] + 1))] = 1


def begin_monotone(network: Network, signs: tuple[int, ...]) -> None:
    """Let the weights begin with the signs that (98) keeps."""
    for k, layer in enumerate(network.layers if signs else ()):
        s = np.array(signs) if k == 0 else np.ones(layer.weights.shape[1])
        layer.weights[:] = np.where(s == 0, layer.weights, s * np.abs(layer.weights))


def _hash(parameters: Floats) -> str:
    little = parameters.astype(parameters.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(little.tobytes()).hexdigest()[:16]


def _check_validation(
    network: Network, validation: tuple[npt.ArrayLike | None, ...] | None, loss: str
) -> tuple[npt.NDArray[np.generic], Floats, Floats | None] | None:
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise ValueError(f"validation must be a pair (X, L), or (X, L, weights); got {type(validation).__name__}")
    try:
        X, L, weight = (*validation, None)[:3]
        check = network.examples(X, L, weight, loss)  # type: ignore[arg-type]
    except data.DataError as error:
        raise data.DataError(f"validation: {error}") from None
    return check


def _check_rate(learning_rate: float | None, solver: str) -> float:
    try:
        rate = RATES.get(solver, RATE) if learning_rate is None else float(learning_rate)
    except (TypeError, ValueError):
        rate = np.nan
    if not 0 < rate < np.inf:
        raise ValueError(f"learning_rate must be a positive number; got {learning_rate!r}")
    return rate


def _warn_if_interrupted(history: History, epochs: int) -> None:
    if history.ending == "interrupted":
        warnings.warn(
            f"training was interrupted after {history.epochs} of {epochs} epochs; the network keeps what it learned",
            UserWarning,
            stacklevel=3,
        )


def _lbfgs(
    network: Network,
    loss_of: Callable[[Floats], tuple[float, Floats]],
    judge: Callable[[], bool],
    callback: Callback | None,
    history: History,
    limits: dict[str, float],
) -> None:
    """SciPy's L-BFGS over loss and gradient, in float64: its line search needs more digits than float32 has."""
    from scipy.optimize import OptimizeResult, minimize

    if limits["maxiter"] == 0:
        return
    started = time.perf_counter()

    def iterated(intermediate_result: OptimizeResult) -> None:
        nonlocal started
        network.parameters = intermediate_result.x
        history.loss.append(float(intermediate_result.fun))
        history.rate.append(1.0)
        exhausted = judge()
        history.seconds.append(time.perf_counter() - started)
        stopped = callback is not None and callback(history)
        if stopped or exhausted:
            history.ending = "converged" if exhausted else "stopped"
            raise StopIteration
        started = time.perf_counter()

    result = minimize(
        loss_of, network.parameters.astype(np.float64), jac=True, method="L-BFGS-B", callback=iterated, options=limits
    )
    if not np.isfinite(result.fun):
        raise FloatingPointError(
            "training diverged: the loss is not finite; look for outliers in the data, or scale it"
        )
    network.parameters = result.x
    if result.success and history.ending == "finished":
        history.ending = "converged"


def _least_squares(
    network: Network,
    examples: tuple[npt.NDArray[np.generic], Floats, Floats | None],
    aim: Objective,
    of: npt.NDArray[np.intp] | None,
    judge: Callable[[], bool],
    callback: Callback | None,
    history: History,
    iterations: int,
    n_threads: int,
    deaf: int,
) -> str:
    """Levenberg and Marquardt's steps, in float64, with or without the evidence; how they ended."""
    rows, labels, weight = examples
    decay = np.zeros(len(network.parameters))
    reference.add_decay(decay, np.ones_like(decay), network.sizes, aim.l2 * len(rows))
    problem = LeastSquares(
        engines.load(network.engine), network.parameters.astype(np.float64), network.sizes, network.activations, rows,
        labels.astype(np.float64), None if weight is None else weight.astype(np.float64), n_threads, decay,
        of, deaf,
    )  # fmt: skip
    started, ending = time.perf_counter(), "finished"

    def iterated(squares: npt.NDArray[np.float64]) -> bool:
        nonlocal started, ending
        network.parameters = problem.parameters
        history.evidence = problem.evidence
        history.loss.append(0.5 * float(squares.sum()) + reference.penalty(problem.parameters, network.sizes, aim.l2))
        history.rate.append(1.0)
        exhausted = judge()
        history.seconds.append(time.perf_counter() - started)
        stopped = callback is not None and callback(history)
        if stopped or exhausted:
            ending = "converged" if exhausted else "stopped"
        started = time.perf_counter()
        return ending != "finished"

    return "converged" if problem.minimise(iterations, iterated) else ending


class Progress:
    """A callback that prints a line per epoch: loss, rate, time left."""

    def __init__(self, epochs: int, rows: int, accuracy: Callable[[], float] | None = None) -> None:
        self.epochs, self.rows, self.accuracy = epochs, rows, accuracy

    def __call__(self, history: History) -> None:
        """Print the line of the last epoch."""
        print(self.line(history), flush=True)

    def line(self, history: History) -> str:
        """Return the line of the last epoch."""
        seconds = history.seconds[-1]
        left = (self.epochs - history.epochs) * float(np.median(history.seconds[-5:]))
        parts = [f"epoch {history.epochs:{len(str(self.epochs))}}/{self.epochs}", f"loss {history.loss[-1]:.5f}"]
        if history.validation:
            parts.append(f"validation {history.validation[-1]:.5f}")
        if self.accuracy is not None:
            parts.append(f"accuracy {100 * self.accuracy():.2f} %")
        parts += [f"{seconds:.3f} s", f"{_short(self.rows / max(seconds, 1e-9))} rows/s", f"{left:.0f} s left"]
        return "  ".join(parts)


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} "
