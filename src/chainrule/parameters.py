"""Parameters of `Regressor` and `Classifier`, with scikit-learn's names and defaults where it has them, and their checks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from chainrule import data
from chainrule.functions import ACTIVATIONS, ALIASES, LOSS_ALIASES, LOSSES, OUTPUTS, choose
from chainrule.images import Augmentation
from chainrule.optimizers import SOLVERS, check_alone, check_dropout
from chainrule.schedules import SCHEDULES, check_schedule

FRACTION = 0.1
AUTO = "auto"
DEFAULTS: dict[str, Any] = {  # scikit-learn's, which hold where a solver is named
    "hidden_layer_sizes": (100,), "activation": "relu", "alpha": 0.0001, "batch_size": 200, "learning_rate": "constant",
    "learning_rate_init": 0.001, "max_iter": 200, "beta_2": 0.999, "label_smoothing": 0.0, "dropout": 0.0,
}  # fmt: skip
OF_A_RECIPE = {  # what a recipe of solver="auto" calls them
    "hidden_layer_sizes": "hidden", "learning_rate": "schedule", "learning_rate_init": "learning_rate", "max_iter": "epochs",
    "beta_2": "beta2",
}  # fmt: skip


@dataclass(eq=False, repr=False)
class Parameters(BaseEstimator):  # type: ignore[misc]
    """Dense networks that learn y from X by gradient descent with back-propagation.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default "auto"
        Units of each hidden layer. Where the solver is named, the default of this and the next ones is scikit-learn's:
        (100,), relu, alpha 1e-4, batches of 200, a constant rate of 0.001, max_iter 200.
    activation : str or sequence of str, default "auto"
        Of the hidden layers: identity, sigmoid (or logistic), tanh, relu, softplus, silu, gelu, exp; one for all or one
        each.
    solver : str, default "auto"
        auto: several networks of several kinds, each trained on a part of the rows and judged by the others, which answer
        together; what else is given holds for all of them. Or one network: by adam, adamw, rmsprop, sgd, momentum, nesterov,
        gradient_descent, rprop, lbfgs, levenberg_marquardt, bayesian, as `train` describes them. With warm_start, and in
        `partial_fit`, auto is adam.
    alpha : float, default "auto"
        Strength of the L2 penalty ½ alpha |W|² / (rows of a batch), as in scikit-learn. Under auto it takes the place of the
        weight_decay of its recipes.
    batch_size : int, default "auto"
        Rows a step, or all where there are fewer.
    learning_rate : {"constant", "step", "cosine", "onecycle", "invscaling", "adaptive"}, default "auto"
        Schedule of the learning rate. step: a tenth of it after every 10 epochs; cosine and onecycle: over the max_iter
        epochs of a `fit`, the one of a `partial_fit`. As in scikit-learn, invscaling and adaptive are of sgd alone, with
        momentum or without.
    learning_rate_init : float, default "auto"
        Of rprop the length of its first step; unused by lbfgs.
    power_t : float, default 0.5
        Exponent of invscaling.
    max_iter : int, default "auto"
        Epochs at the most.
    shuffle : bool, default True
    random_state : int, RandomState or None, default None
        Of the initial values, the shuffling and the split; equal integers give equal bits.
    tol : float, default 1e-4
        A loss that has not fallen by tol for n_iter_no_change epochs ends the training; not that of auto.
    verbose : bool, default False
        Print a line per epoch, of auto per network.
    warm_start : bool, default False
        Let `fit` go on from the last solution.
    momentum, nesterovs_momentum : float, default 0.9, and bool, default True
        Of sgd.
    early_stopping : bool, default False
        Set rows aside, watch the loss on them, and keep the parameters of the best epoch.
    validation_fraction : float, default 0.1
        How many rows early stopping sets aside, where `fit` is given no validation set.
    beta_1, beta_2, epsilon : float
        Of adam and adamw; epsilon also of rmsprop, whose squares decay by 0.99.
    n_iter_no_change : int, default 10
        Patience, in epochs.
    max_fun : int, default 15000
        Loss evaluations of lbfgs at the most.
    loss : str, default "auto"
        Of a Regressor half_squared_error, huber, quantile, poisson (counts or rates, 0 or more) or gaussian (which learns
        the spread too); auto: the first. Of a Classifier binary_cross_entropy, cross_entropy or half_squared_error; auto:
        the cross-entropy that suits its classes.
    output : str, default "auto"
        Activation of the output layer; auto: identity for a Regressor, exp for its poisson loss, sigmoid or softmax for a
        Classifier.
    delta : float, default 1
        δ of the huber loss, in deviations of y, by its quartiles, where y is standardised: errors up to it count by their
        square, larger ones by their size.
    quantile : float, default 0.5
        τ of the quantile loss: the share of the rows whose y is to lie below the prediction.
    label_smoothing : float, default "auto"
        Of the cross-entropies: this share of each label is spread over all classes.
    dropout : float or sequence of float, default "auto"
        Share of the values that each step sets to 0, of each hidden layer; or one for what enters each layer, the input
        first. Not of second-order solvers, nor are the next six.
    adversarial : float, default 0
        Learn, beside each row, from the row with every input moved by so much, up or down, as it makes its loss larger: the
        answer is to hold nearby. In deviations of a column where X is standardised, of images in grey levels 0..1: 0.1 helps
        where there is nothing to distort. It takes some 2.3 times as long.
    augment : Augmentation or None, default "auto"
        How images are distorted before they enter, each time anew; None: not at all. By auto what a short trial shows to
        help; nothing where a solver is named.
    monotonic_cst : sequence of int, (d,), or dict, optional
        Of each column of X: 1 where the prediction, or the probability of the second class, may never fall as it rises, -1
        where it may never rise, 0 for any; a dict has only those that are not 0, by the columns' names or numbers. Kept
        exactly, by the signs of weights; not by second-order solvers, nor with activations that fall, as silu.
    weight_decay : float, optional
        Decoupled: before each step learning rate · weight_decay of each weight is taken off. Default: 0, for adamw 0.01.
    clip : float, optional
        The longest gradient of a batch, penalty not counted; a longer one is scaled to this norm.
    max_norm : float, optional
        The longest vector of weights that enters a hidden unit; after each step a longer one is scaled to this norm.
    ensemble : int, default "auto"
        How many networks of each kind auto trains: into so many parts the rows are divided.
    time_limit : float, optional
        Seconds that `fit` may take; with it what is learned depends on the machine. Auto trains for fewer epochs, on fewer
        rows or fewer networks, but one in any case. With a solver named, training ends with the epoch; with `max_iter`, after
        a twentieth of it.
    standardize : bool, default True
        Scale each column of numbers, and of the Regressor's y, inside: to mean 0 and deviation 1, by auto robustly; y only
        where output is identity.
    dtype : {"float32", "float64"}, default "float32"
        Of the network.
    n_threads : int, optional
        The result does not depend on it. Default: 1, for auto all cores that the process may use.
    engine : {"native", "reference"}, optional

    Notes
    -----
    Columns of X may hold numbers, booleans, dates or text, which are categories; None, NaN and such words as "NA" are missing
    values. A category that was not there before, and a value that is missing where none was, are answered all the same. By
    auto whole numbers are taken for categories, too, where y jumps from each to the next, as of codes.

    Images are an array (n, height, width) or (n, height, width, channels), or rows of such: of an ndarray of uint8 with 64
    columns or more that reaches beyond 127; of any with an `augment`; by auto of any array or frame whose values lie in
    0..255 or 0..1 and are alike where they would be neighbours in a square. They are not standardised; grey levels enter as
    0..1, also of 0..255, -1..1, 0..65535. Anything else is taken as numbers.
    """

    hidden_layer_sizes: int | Sequence[int] | str = AUTO
    activation: str | Sequence[str] = AUTO
    solver: str = AUTO
    alpha: float | str = AUTO
    batch_size: int | str = AUTO
    learning_rate: str = AUTO
    learning_rate_init: float | str = AUTO
    power_t: float = 0.5
    max_iter: int | str = AUTO
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = FRACTION
    beta_1: float = 0.9
    beta_2: float | str = AUTO
    epsilon: float = 1e-8
    n_iter_no_change: int = 10
    max_fun: int = 15000
    loss: str = "auto"
    output: str = "auto"
    delta: float = 1.0
    quantile: float = 0.5
    label_smoothing: float | str = AUTO
    dropout: float | Sequence[float] | str = AUTO
    adversarial: float = 0.0
    augment: Augmentation | str | None = AUTO
    monotonic_cst: Any = None
    weight_decay: float | None = None
    clip: float | None = None
    max_norm: float | None = None
    ensemble: int | str = AUTO
    time_limit: float | None = None
    standardize: bool = True
    dtype: str = "float32"
    n_threads: int | None = None
    engine: str | None = None

    _in_parts = False  # whether `partial_fit` began it

    @property
    def _solver(self) -> str:
        """The solver that is used: auto has no network to go on from, nor all rows at once in `partial_fit`."""
        return "adam" if self.solver == AUTO and (self.warm_start or self._in_parts) else self.solver

    def _of(self, name: str) -> Any:
        """Return a parameter of a named solver: as it was given, or scikit-learn's default."""
        value = getattr(self, name)
        return DEFAULTS[name] if isinstance(value, str) and value == AUTO else value

    def _given(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and not (isinstance(value, str) and value == AUTO)

    @property
    def _threads(self) -> int:
        """As many as were asked for; of auto by default all cores that the process may use."""
        if self.n_threads is not None:
            return self.n_threads
        if self._solver != AUTO:
            return 1
        told = os.environ.get("OMP_NUM_THREADS", "")  # joblib's workers are told how many are theirs
        if told.isdigit() and int(told):
            return int(told)
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def _settled(self) -> tuple[list[str], dict[str, Any]]:
        """Return what the user has settled of auto's recipes: by its own names, and as a recipe has it."""
        settled = [name for name in (*DEFAULTS, "weight_decay", "augment") if self._given(name)]
        fixed = {OF_A_RECIPE.get(name, name): getattr(self, name) for name in settled}
        if "alpha" in fixed:  # the user's penalty takes the place of the recipes' own
            fixed.setdefault("weight_decay", 0.0)
        if "hidden" in fixed:
            fixed["hidden"] = tuple(self._hidden())
        if "activation" in fixed and not isinstance(self.activation, str):
            fixed["activation"] = tuple(map(str, self._activations(len(self._hidden()))))
        if isinstance(fixed.get("dropout"), Sequence | np.ndarray):
            fixed["dropout"] = check_dropout(fixed["dropout"], len(self._hidden()) + 1)
        return settled, fixed

    def check_parameters(self) -> None:
        """Refuse parameters of a wrong kind or out of range, by their own names."""
        for name in ("max_iter", "n_iter_no_change", "max_fun", "batch_size", "ensemble"):
            if self._given(name):
                data.check_integer(name, getattr(self, name), 1, 2**62)
        if self._given("ensemble") and (self.ensemble == 1 or self.solver != AUTO or self.warm_start):
            raise ValueError(
                f"ensemble is of solver='auto', 2 or more: each network is judged by rows that others learn from; got "
                f"{self.ensemble} with solver={self.solver!r}. For one network name a solver and leave ensemble out"
            )
        if self.n_threads is not None:
            data.check_threads(self.n_threads)
        if isinstance(self.random_state, int | np.integer):
            data.check_integer("random_state", self.random_state, 0, 2**32 - 1)
        for name, top, ends in (
            ("alpha", np.inf, "[)"), ("learning_rate_init", np.inf, "()"), ("power_t", np.inf, "[)"),
            ("tol", np.inf, "[)"), ("epsilon", np.inf, "()"), ("momentum", 1, "[)"), ("beta_1", 1, "[)"),
            ("beta_2", 1, "[)"), ("validation_fraction", 1, "()"), ("delta", np.inf, "()"), ("quantile", 1, "()"),
            ("label_smoothing", 1, "[)"), ("weight_decay", np.inf, "[)"), ("clip", np.inf, "()"),
            ("max_norm", np.inf, "()"), ("time_limit", np.inf, "()"), ("adversarial", np.inf, "[)"),
        ):  # fmt: skip
            if self._given(name) or name not in (*DEFAULTS, "weight_decay", "clip", "max_norm", "time_limit"):
                data.check_number(name, getattr(self, name), 0, top, ends)
        for name in ("shuffle", "verbose", "warm_start", "nesterovs_momentum", "early_stopping", "standardize"):
            data.check_flag(name, getattr(self, name))
        hidden = self._hidden()
        for name in ("activation", "dropout") if self._solver == AUTO and not self._given("hidden_layer_sizes") else ():
            if isinstance(value := getattr(self, name), Sequence | np.ndarray) and not isinstance(value, str):
                raise ValueError(
                    f"{name}={value!r} is for given layers: set hidden_layer_sizes, too, or give one for all"
                )
        self._activations(len(hidden))
        if self._given("augment") and not isinstance(self.augment, Augmentation):
            raise ValueError(
                f"augment must be 'auto', None, or an Augmentation, as Augmentation(rotation=10); got {self.augment!r}"
            )
        check_alone(
            choose("solver", self.solver, (AUTO, *SOLVERS)), dropout=check_dropout(self._of("dropout"), len(hidden) + 1),
            adversarial=self.adversarial, clip=self.clip, max_norm=self.max_norm, weight_decay=self.weight_decay,
            augment=self.augment if self._given("augment") else None,
            monotonic_cst=self.monotonic_cst is not None,
        )  # fmt: skip
        choose("learning_rate", self._of("learning_rate"), SCHEDULES)
        check_schedule("learning_rate", self._schedule(), self._solver)
        loss = LOSS_ALIASES.get(self.loss, self.loss) if isinstance(self.loss, str) else None
        if loss in LOSSES and loss not in self._losses:
            raise ValueError(
                f"loss={loss!r} is not one of a {type(self).__name__}'s: {', '.join(self._losses)}; "
                f"a {self._other} takes it"
            )
        choose("loss", self.loss, ("auto", *self._losses), LOSS_ALIASES)
        choose("output", self.output, ("auto", *OUTPUTS), ALIASES)
        for name, of in (("delta", "huber"), ("quantile", "quantile")):
            if loss != of and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                warnings.warn(
                    f"{name}={getattr(self, name)!r} is of loss={of!r}, and not looked at by loss={self.loss!r}: set that "
                    f"loss, or leave {name} out",
                    UserWarning,
                    stacklevel=4,
                )
        choose("dtype", self.dtype, ("float32", "float64"))

    def _hidden(self) -> list[int]:
        hidden = self._of("hidden_layer_sizes")
        if not isinstance(hidden, int | np.integer | Sequence | np.ndarray) or isinstance(hidden, str):
            raise ValueError(f"hidden_layer_sizes must be whole numbers, as 100 or (64, 32); got {hidden!r}")
        sizes = [hidden] if isinstance(hidden, int | np.integer) else list(hidden)
        return [data.check_integer(f"hidden_layer_sizes[{i}]", n, 1, 2**31 - 1) for i, n in enumerate(sizes)]

    def _activations(self, hidden: int) -> list[str]:
        """Return the name of each hidden layer's activation."""
        given = self._of("activation")
        if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
            return [choose("activation", given, ACTIVATIONS, ALIASES)] * hidden
        if len(given) != hidden:
            raise ValueError(
                f"activation must be one name, or one for each of the {hidden} hidden layers; got {len(given)}"
            )
        return [choose("activation", name, ACTIVATIONS, ALIASES) for name in given]

    def _schedule(self) -> str:
        """Return the schedule that is used: as in scikit-learn, invscaling and adaptive are of sgd alone."""
        name: str = self._of("learning_rate")
        theirs = name in ("invscaling", "adaptive") and self._solver not in ("sgd", "momentum", "nesterov")
        return "constant" if theirs else name
