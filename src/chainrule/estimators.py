"""`Regressor` and `Classifier`: networks behind scikit-learn's contract.

Without arguments they choose for themselves (solver="auto"): several kinds of networks are cross-fitted, and answer together.
Parameter names are those of scikit-learn's MLPRegressor and MLPClassifier, and with a solver named its defaults hold, so that
replacing one is a change of one line. What differs: columns may be of any kind, inputs and the targets of regressions are
scaled inside; the validation curve holds losses; several outputs, sample and class weights work throughout.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from chainrule import data, images
from chainrule.data import Scale
from chainrule.diagnosis import complaints
from chainrule.elementary import exponential, logarithm
from chainrule.ensemble import Ensemble, Member
from chainrule.functions import (
    ACTIVATIONS,
    ALIASES,
    LOSS_ALIASES,
    LOSSES,
    OUTPUTS,
    SMOOTHED,
    check_labels,
    choose,
    objective,
)
from chainrule.images import Augmentation
from chainrule.inputs import PLAIN, Form, Inputs
from chainrule.learner import Learner, learn
from chainrule.network import Floats, Network
from chainrule.optimizers import FULL_BATCH, LEAST_SQUARES, SECOND_ORDER, SOLVERS, check_alone, check_dropout
from chainrule.recipes import Problem, spread_biases
from chainrule.schedules import SCHEDULES, check_schedule
from chainrule.tables import is_frame, is_missing, read_table
from chainrule.targets import BENDS, Bends
from chainrule.training import History, Progress, train
from chainrule.trials import Trial

Array = npt.NDArray[Any]
FRACTION = 0.1
FAR = 10.0  # ranges of y
FLOATING = (np.dtype(np.float64), np.dtype(np.float32))
AUTO = "auto"
DEFAULTS: dict[str, Any] = {  # scikit-learn's, which hold where a solver is named
    "hidden_layer_sizes": (100,), "activation": "relu", "alpha": 0.0001, "batch_size": 200, "learning_rate": "constant",
    "learning_rate_init": 0.001, "max_iter": 200, "beta_2": 0.999, "label_smoothing": 0.0, "dropout": 0.0,
}  # fmt: skip
OF_A_RECIPE = {  # what a recipe of solver="auto" calls them
    "hidden_layer_sizes": "hidden", "learning_rate": "schedule", "learning_rate_init": "learning_rate", "max_iter": "epochs",
    "beta_2": "beta2",
}  # fmt: skip
NOT_OF_AUTO = (  # scikit-learn's parameters that say nothing of how auto trains
    "power_t", "shuffle", "tol", "momentum", "nesterovs_momentum", "early_stopping", "validation_fraction", "beta_1",
    "epsilon", "n_iter_no_change", "max_fun",
)  # fmt: skip


def say(line: str) -> None:
    """Print a line at once: threads may print at the same time."""
    print(line + "\n", end="", flush=True)


def check_form(X: Any, name: str) -> None:
    """Refuse tables in a form that has no rows and columns yet, and say how it gets them."""
    found, remedy = "", "Make a frame of it: pandas.DataFrame(...)"
    if type(X) is dict:  # some sparse matrices are dicts, too
        found = "a dict"
    elif isinstance(X, list | tuple) and X and isinstance(X[0], dict):
        found = "a list of dicts"
    elif isinstance(X, np.ndarray) and X.dtype.names:
        found = "an array of records"
    elif hasattr(X, "collect_schema") and not hasattr(X, "to_numpy"):
        found, remedy = f"a {type(X).__name__}", "Call its collect() first"
    if found:
        raise TypeError(f"{name} must be an array or a frame, a row for each example; found {found}. {remedy}")
    if is_frame(X):
        labels = list(X.columns)
        if len(set(labels)) < len(labels):
            twice = next(label for k, label in enumerate(labels) if label in labels[:k])
            raise data.DataError(f"{name} has two columns named {twice!r}; name them apart")


def check_classes(y: list[Any], name: str) -> None:
    """Refuse a class that is missing, and classes of several kinds, which have no order."""
    missing = [row for row, value in enumerate(y) if not isinstance(value, str) and is_missing(value)]
    if missing and len(missing) < len(y):
        raise data.DataError(
            f"{name} must hold a class in each row; found {y[missing[0]]} at row {missing[0]}. Leave such rows out, or "
            f"give them a class of their own"
        )
    text = [isinstance(value, str) for value in y]
    if any(text) and not all(text):
        odd = text.index(not text[0])
        raise data.DataError(
            f"{name} must hold classes of one kind; found {y[0]!r} at row 0, {y[odd]!r} at row {odd}. Make all of them text"
        )


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Let scikit-learn's errors of X name the argument."""
    try:
        yield
    except ValueError as error:
        if name == "X" or not str(error).startswith("X "):
            raise
        raise ValueError(name + str(error)[1:]) from None


@dataclass(eq=False, repr=False)
class _Network(BaseEstimator):  # type: ignore[misc]
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
        Seconds after which nothing more is begun; what is under way ends with its epoch, and of auto one network is trained
        in any case. Without it what is learned does not depend on the machine.
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

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: npt.ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Self:
        """Learn y from X.

        Parameters
        ----------
        X : array or frame, (n, d)
        y : array, (n,) or (n, k)
            Of a Regressor's several columns some numbers may be missing, NaN: of such a row it learns the others.
        sample_weight : array, (n,), optional
        X_val, y_val : optional
            A validation set of your own: its loss is in `validation_curve_`, and early stopping watches it. Under auto it
            judges in place of rows set aside.

        Returns
        -------
        self
        """
        self.check_parameters()
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; got one without the other")
        go_on = self.warm_start and hasattr(self, "network_")
        started = time.perf_counter()
        table, labels, weight = self._examples(X, y, sample_weight, first=not go_on)
        validation = None
        if X_val is not None:
            targets = self._check_targets(y_val, "y_val")
            validation = (self._table(X_val, "X_val"), self._labels(targets, "y_val"))
            check_consistent_length(*validation)
        if self._solver == AUTO:
            self._fit_auto(table, labels, weight, validation, started)
            return self
        if not go_on:
            self.bends_ = self._bends(labels)
        labels, rows = self._taught(labels), self._encoded(table)
        if validation is not None:
            validation = (self._encoded(validation[0]), self._taught(validation[1]))
        elif self.early_stopping:
            rows, labels, weight, validation = self._split(rows, labels, weight)
        if go_on:
            self._check_same_network()
        else:
            self._start(labels, rows.shape[1])
        self._train(rows, labels, weight, int(self._of("max_iter")), validation)
        if self.history_.ending == "finished" and self.history_.epochs >= self._of("max_iter") and self.tol > 0:
            warnings.warn(
                f"max_iter={self._of('max_iter')} epochs were run and the loss still falls by more than tol={self.tol}: "
                f"raise max_iter, or set early_stopping=True",
                ConvergenceWarning,
                stacklevel=2,
            )
        if self.history_.ending != "interrupted":
            for fault in complaints(self.network_, self._problem(labels), rows, labels, weight):
                warnings.warn(f"{fault}. {self._otherwise()}", ConvergenceWarning, stacklevel=2)
        return self

    def _otherwise(self) -> str:
        """What may be done about a network that a named solver has trained badly."""
        own = (
            ""
            if self._solver in SECOND_ORDER
            else f"another learning_rate_init (it was {self._of('learning_rate_init'):g}), "
        )
        scaled = "" if self.standardize else "standardize=True, "
        more = f"more max_iter (it was {self._of('max_iter')}), " if self.history_.ending == "finished" else ""
        remedies = f"{own}{scaled}{more}"
        return f"Try {remedies}or solver='auto'" if remedies else "Try solver='auto'"

    @property
    def _solver(self) -> str:
        """The solver that `fit` uses: auto has no network to go on from."""
        return "adam" if self.solver == AUTO and self.warm_start else self.solver

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

    def check_parameters(self) -> None:
        """Refuse parameters of a wrong kind or out of range, by their own names."""
        for name in ("max_iter", "n_iter_no_change", "max_fun", "batch_size", "ensemble"):
            if self._given(name):
                data.check_integer(name, getattr(self, name), 1, 2**62)
        if self._given("ensemble") and (self.ensemble == 1 or self._solver != AUTO):
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

    def _check_same_network(self) -> None:
        """Refuse to go on from a network that the parameters no longer describe."""
        held = self.network_
        for name, now, before in (
            ("hidden_layer_sizes", tuple(self._hidden()), held.sizes[1:-1]),
            ("activation", tuple(self._activations(len(self._hidden()))), held.activations[:-1]),
            ("dtype", self.dtype, held.dtype.name),
        ):  # fmt: skip
            if now != before:
                raise ValueError(
                    f"warm_start=True goes on with the network {held!r}, but {name} is now {getattr(self, name)!r}: "
                    f"set it back, or fit with warm_start=False"
                )

    # ---- from X, y to the network's rows and labels ----

    def _examples(
        self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, first: bool, classes: npt.ArrayLike | None = None
    ) -> tuple[Array, Floats, Array | None]:
        """Check the data, learn its scales when `first`, and return rows, labels and weights for the network."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        X = images.as_stack(X)
        checked = self._checked(X, reset=first)
        targets = self._check_targets(y)
        check_consistent_length(checked, targets)
        weight = data.as_weights(sample_weight, len(checked), np.dtype(np.float64))
        # Two rows of weight 1 are one row of weight 2: the penalty is shared by weight, not by rows.
        self._mean_weight = (
            1.0 if sample_weight is None else float(np.mean(np.asarray(sample_weight, dtype=np.float64)))
        )
        weight = self._weights(targets, weight)
        if first:
            self._learn_images(X, checked)
            table = self._learn_inputs(checked, weight)
            self._learn_targets(targets, weight, classes)
        else:
            table = self._read(checked)
        return table, self._labels(targets), weight

    def _learn_inputs(self, checked: Any, weight: Array | None) -> Array:
        """Learn the columns; they are None where the rows enter as they are."""
        self.inputs_: Inputs | None = None
        if self.image_shape_ is not None or self.span_ is not None:
            return self._pixels(checked, "X")
        table, columns = read_table(checked, "X")
        plain = isinstance(checked, np.ndarray) and checked.dtype.kind in "fiub" and not np.isnan(table).any()
        if plain and not self.standardize:
            return checked if checked.dtype in FLOATING else table
        scaling = "none" if not self.standardize else "robust" if self._solver == AUTO else "standard"
        self.inputs_ = Inputs.learn(columns, table, scaling, weight)
        return table

    def _learn_images(self, X: Any, checked: Any) -> None:
        """Learn the shape of the images, and what their grey levels lie between; each is None where there are none."""
        self.image_shape_: tuple[int, ...] | None = None
        self.span_: tuple[float, float] | None = None
        told = isinstance(self.augment, Augmentation)
        if not isinstance(X, np.ndarray):
            if not told and not (self._solver == AUTO and images.side_of(checked.shape[1])):
                return  # a frame is not copied for nothing
            X = np.asarray(checked)
        if isinstance(self.augment, Augmentation):
            shape = self.augment.shape or (X.shape[1:] if X.ndim > 2 else None)
            self.image_shape_ = replace(self.augment, shape=shape).for_rows(int(np.prod(X.shape[1:]))).shape
        elif X.ndim > 2 or self._solver == AUTO:
            self.image_shape_ = images.shape_of(X)
        if self.image_shape_ is not None:
            self.span_ = images.span_of(X)
        elif (
            X.dtype == np.uint8
            and isinstance(checked, np.ndarray)
            and checked.shape[1] >= images.SMALLEST**2
            and images.span_of(X) == images.BYTES
        ):
            self.span_ = images.BYTES

    def _pixels(self, checked: Any, name: str) -> Array:
        """Return images, (n, d), as the network takes them."""
        pixels = data.as_numbers(checked, name)
        data.check_finite(pixels, name)
        if self.span_ is not None:
            return images.as_levels(pixels, self.span_, name)
        return pixels if pixels.dtype in FLOATING else pixels.astype(np.float64)

    def _augmentation(self) -> Augmentation | None:
        """Return how images are distorted, where the user says it."""
        return replace(self.augment, shape=self.image_shape_) if isinstance(self.augment, Augmentation) else None

    def _checked(self, X: Any, reset: bool, name: str = "X") -> Any:
        """X as an array (n, d), or a frame; scikit-learn's checks of its shape, its columns' names and their number."""
        if not reset and self._plain(X):
            return X
        data.check_unmasked(X, name)
        check_form(X, name)
        if isinstance(X, np.ndarray) and X.ndim in (3, 4) and X.dtype.kind in "uif":  # images
            X = X.reshape(len(X), -1)
        if is_frame(X):
            with _named(name):
                validate_data(self, X, reset=reset, skip_check_array=True)
            if not len(X) or not len(X.columns):
                raise ValueError(
                    f"{name} has {len(X)} rows and {len(X.columns)} columns; at least one of each is needed"
                )
            return X
        try:
            with _named(name):
                return validate_data(self, X, dtype=None, ensure_all_finite=False, reset=reset)
        except ValueError as error:
            if "inhomogeneous" in str(error):
                data.as_numbers(X, name)
            raise

    def _plain(self, X: Any) -> bool:
        """Whether X is a few rows with nothing to say against: scikit-learn's checks take ten times as long as they do."""
        return (
            type(X) is np.ndarray
            and X.dtype in FLOATING
            and X.ndim == 2
            and getattr(self, "span_", None) is None
            and 0 < X.size < 10_000
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
            and bool(np.isfinite(X).all())
        )

    def _read(self, checked: Any, name: str = "X") -> Array:
        """Return the table of checked rows: numbers, as the inputs or the network take them."""
        if self.inputs_ is not None:
            if self.inputs_.plain and isinstance(checked, np.ndarray) and checked.dtype in FLOATING:
                return checked
            return read_table(checked, name, self.inputs_.columns)[0]
        if self.image_shape_ is not None or self.span_ is not None:
            return self._pixels(checked, name)
        table, columns = read_table(checked, name)
        data.check_finite(table, name)
        if {column.kind for column in columns} - {"number", "boolean"}:
            raise data.DataError(f"{name} must hold numbers, as what was learned from")
        return checked if isinstance(checked, np.ndarray) and checked.dtype in FLOATING else table

    def _table(self, X: Any, name: str = "X") -> Array:
        return self._read(self._checked(images.as_stack(X), reset=False, name=name), name)

    def _encoded(self, table: Array) -> Array:
        """Return what one network, of a named solver, is given."""
        return table if self.inputs_ is None else self.inputs_.encode(table, dtype=self.dtype)

    def stated_signs(self) -> list[int] | None:
        """Return of each column of X the sign that the prediction's slopes keep, where the user says any."""
        given = self.monotonic_cst
        if given is None:
            return None
        if not self._numeric and (len(self.classes_) > 2 or self.out_activation_ != "sigmoid"):
            raise ValueError(
                "monotonic_cst is of regressions and of two classes: what rises is the second's probability"
            )
        columns: int = self.n_features_in_
        if isinstance(given, dict):
            names = list(getattr(self, "feature_names_in_", [])) or list(range(columns))
            unknown = [name for name in given if name not in names]
            if unknown:
                raise ValueError(f"monotonic_cst names {unknown[0]!r}; the columns are {', '.join(map(str, names))}")
            signs = [given.get(name, 0) for name in names]
        else:
            signs = list(given)
        if len(signs) != columns:
            raise ValueError(
                f"monotonic_cst must have a number for each of the {columns} columns of X; got {len(signs)}"
            )
        return [data.check_integer("monotonic_cst", sign, -1, 1) for sign in signs]

    def _signs(self) -> list[int] | None:
        """Return the signs that the outputs' slopes keep."""
        signs = self.stated_signs()
        return None if signs is None else [sign * self._way for sign in signs]

    def _input_signs(self) -> list[int] | None:
        signs = self._signs()
        return signs if signs is None or self.inputs_ is None else self.inputs_.signs(signs)

    @property
    def _way(self) -> int:
        """1; or −1 where labels fall as y rises."""
        return 1

    @property
    def _quantile(self) -> float:
        """Of the labels as they are learned."""
        return self.quantile

    @property
    def _bent(self) -> bool:
        """Whether the user has settled how the labels are bent."""
        return False

    def _bends(self, labels: Floats) -> Bends | None:
        """Return how the labels are bent before they are learned, where the user says it or auto may choose to."""
        return None

    def _taught(self, labels: Floats) -> Floats:
        return labels if self.bends_ is None else self.bends_.apply(labels.astype(np.float64))

    def _split(
        self, rows: Array, labels: Floats, weight: Array | None
    ) -> tuple[Array, Floats, Array | None, tuple[Array, Floats]]:
        kept, aside = data.set_aside(len(rows), self.validation_fraction, self._seed(), self._strata(labels))
        return rows[kept], labels[kept], None if weight is None else weight[kept], (rows[aside], labels[aside])

    def example(self, x: npt.ArrayLike, l: Any) -> tuple[Floats, Floats, str]:
        """One row and its target as the network sees them, (d,) and (k,), and in words what was done to them."""
        check_is_fitted(self)
        row = np.asarray(x)
        if row.dtype.kind not in "fiubO":
            row = np.asarray(x, dtype=object)
        own = row.reshape(1, -1)
        if own.shape[1] != self.n_features_in_:
            raise data.DataError(f"x must have {self.n_features_in_} values, as a row of X; got {own.shape[1]}")
        target = self._check_targets([l], "l")
        table, labels = self._read(own, "x"), self._taught(self._labels(target, "l"))
        if self.span_ is not None:
            return table[0], labels[0], ""
        member = self.ensemble_.members[0]
        rows = table if self.inputs_ is None else self.inputs_.encode(table, member.form, self.network_.dtype.name)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(own.shape[1])])
        shown = [
            f"{name} = "
            + ("missing" if is_missing(v) else f"{v:g}" if isinstance(v, int | float | np.number) else f"{v}")
            for name, v in zip(names, own[0], strict=True)
        ]
        given = ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-3:]]) + f"; l = {l}"
        both = " and l" if getattr(self, "target_scale_", None) is not None else ""
        scaled = f" x{both} below are these, standardised." if self.inputs_ is not None else ""
        several = len(self.ensemble_.members)
        one = f" Of {several} networks, which answer together, this is one of the largest share." if several > 1 else ""
        return rows[0], labels[0], f"Given: {given}.{scaled}{one}"

    # ---- training ----

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_objective(self, labels: Floats) -> int:
        """Refuse what does not go with the loss before any network is made; return how many outputs one has."""
        outputs: int = labels.shape[1] * LOSSES[self.loss_name_].per_label
        objective(self.loss_name_, self.out_activation_, outputs, label_smoothing=self._of("label_smoothing"))
        return outputs

    def _problem(self, labels: Floats) -> Problem:
        return Problem(
            self.loss_name_, self.out_activation_, labels.shape[1], {"delta": self.delta, "quantile": self._quantile},
            self.engine, self.dtype, self.clip, self.max_norm, self._mean_weight, self.monotonic_cst is not None,
            self.adversarial,
        )  # fmt: skip

    def _start(self, labels: Floats, inputs: int) -> None:
        seed, outputs = self._seed(), self._check_objective(labels)
        self.__dict__.pop("choice_", None)  # of an earlier fit that chose for itself
        self.network_ = Network(
            [inputs, *self._hidden(), outputs],
            activation=self._of("activation"),
            output=self.out_activation_,
            seed=seed,
            dtype=self.dtype,
            engine=self.engine,
        )
        if self._solver in LEAST_SQUARES:
            spread_biases(self.network_, seed)
        self.ensemble_ = Ensemble(self.inputs_, [Member(self.network_)], self.bends_)
        self.history_ = History()
        self._seed_ = seed

    def _train(
        self,
        rows: Array,
        labels: Floats,
        weight: Array | None,
        epochs: int,
        validation: tuple[Array, Floats] | None,
        patient: bool = True,
        form: Form = PLAIN,
    ) -> None:
        batch = min(int(self._of("batch_size")), len(rows))
        solver = "adam" if self.solver == AUTO else self.solver
        before = self.history_
        stops = patient and (self.tol > 0 or self.early_stopping)
        watched = self.early_stopping and validation is not None
        progress = Progress(epochs, len(rows)) if self.verbose else None
        ends = time.perf_counter() + (np.inf if self.time_limit is None else self.time_limit)

        def look(history: History) -> bool:
            if progress is not None:
                progress(history)
            return time.perf_counter() > ends

        history = train(
            self.network_,
            rows,
            labels,
            loss=self.loss_name_,
            solver=solver,
            batch_size=batch,
            learning_rate=self._of("learning_rate_init"),
            epochs=epochs,
            momentum=self.momentum,
            nesterov=self.nesterovs_momentum,
            beta1=self.beta_1,
            beta2=None if solver == "rmsprop" else self._of("beta_2"),
            epsilon=self.epsilon,
            l2=0.0 if solver == "bayesian"
            else self._of("alpha") / (len(rows) if solver in FULL_BATCH else batch) / self._mean_weight,
            delta=self.delta,
            quantile=self._quantile,
            label_smoothing=self._of("label_smoothing"),
            weight_decay=self.weight_decay,
            clip=self.clip,
            max_norm=self.max_norm,
            adversarial=self.adversarial,
            dropout=self._of("dropout"),
            augment=self._augmentation(),
            monotone=self._input_signs(),
            embedding=self.inputs_.groups(form) if form.embedding and self.inputs_ is not None else None,
            schedule=self._schedule(),
            power_t=self.power_t,
            sample_weight=weight,
            shuffle=self.shuffle,
            seed=self._seed_,
            n_threads=1 if self.n_threads is None else self.n_threads,
            validation=validation,
            watch="validation" if watched else "loss",
            patience=self.n_iter_no_change if stops and (watched or solver not in SECOND_ORDER) else None,
            tol=self.tol,
            max_fun=self.max_fun,
            callback=look if self.verbose or self.time_limit is not None else None,
            state=before.state if solver == getattr(self, "_learned_by", None) else None,
        )  # fmt: skip
        self._learned_by = solver
        history.loss = before.loss + history.loss
        history.validation = before.validation + history.validation
        history.rate = before.rate + history.rate
        history.seconds = before.seconds + history.seconds
        self.history_ = history
        self._describe_history()

    def _describe_history(self) -> None:
        history, network = self.history_, self.network_
        self.loss_curve_, self.validation_curve_ = history.loss, history.validation
        self.loss_ = history.loss[-1] if history.loss else np.nan
        watched = history.validation if self.early_stopping and history.validation else history.loss
        self.best_loss_ = min(watched, default=np.nan)
        self.n_iter_ = history.epochs
        self.n_layers_, self.n_outputs_ = len(network.sizes), network.sizes[-1] // LOSSES[self.loss_name_].per_label

    def _fit_auto(
        self,
        table: Array,
        labels: Floats,
        weight: Array | None,
        validation: tuple[Array, Floats] | None,
        started: float,
    ) -> None:
        """Cross-fit the recipes for the table; the network of the largest share stands for the ensemble."""
        idle = [name for name in NOT_OF_AUTO if getattr(self, name) != type(self).__dataclass_fields__[name].default]
        if idle:
            warnings.warn(
                f"{', '.join(idle)}: not looked at by solver='auto', which ends each training where rows not learned from "
                f"are answered best; name a solver, as solver='adam', or leave it out",
                UserWarning,
                stacklevel=3,
            )
        self._seed_ = self._seed()
        self._check_objective(labels)
        problem = self._problem(labels)
        if self.inputs_ is not None and self.monotonic_cst is None:
            self.inputs_.find_codes(table, labels)
        settled = [name for name in (*DEFAULTS, "weight_decay", "augment") if self._given(name)]
        fixed = {OF_A_RECIPE.get(name, name): getattr(self, name) for name in settled}
        if self.augment != AUTO:
            fixed["augment"] = self._augmentation()
        if "alpha" in fixed:  # the user's penalty takes the place of the recipes' own
            fixed.setdefault("weight_decay", 0.0)
        if "hidden" in fixed:
            fixed["hidden"] = tuple(self._hidden())
        if "activation" in fixed and not isinstance(self.activation, str):
            fixed["activation"] = tuple(self.activation)
        learner = Learner(
            problem, self.inputs_, table, labels, weight, self._seed_, self._threads, fixed, self.image_shape_,
            self._bends(labels), self._signs(), validation,
            np.inf if self.time_limit is None else started + self.time_limit, say if self.verbose else None,
            settled=settled, stated=[name for name in ("bounds", "monotonic_cst") if getattr(self, name, None) is not None],
        )  # fmt: skip
        parts = None if self.ensemble == AUTO else int(self.ensemble)
        trials, pool = learn(learner, parts, self._strata(labels), self._bent)
        for message in learner.warnings:
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
        used = sorted((trial for trial in trials if trial.share > 0), key=lambda trial: -trial.share)
        self.bends_ = learner.bends if used[0].recipe.bend else None
        self.ensemble_ = Ensemble(
            self.inputs_,
            [Member(network, t.recipe.form, t.share / len(t.networks)) for t in used for network in t.networks],
            self.bends_,
            pool,
        )
        self.network_, self.history_ = used[0].made[0].network, used[0].made[0].history
        if learner.stopped.is_set():
            self.history_.ending = "interrupted"
            warnings.warn(
                "training was interrupted; the networks that were trained by then answer", UserWarning, stacklevel=3
            )
        self.seconds_ = time.perf_counter() - started
        self._describe_history()
        self._describe_trials(trials, learner.constant)

    def _describe_trials(self, trials: list[Trial], constant: float) -> None:
        names = [str(trial.recipe) for trial in trials]
        names = [
            name if names.count(name) == 1 else f"{name} at a rate of {t.recipe.learning_rate:g}"
            for name, t in zip(names, trials, strict=True)
        ]
        self.choice_: list[dict[str, Any]] = [
            {"recipe": name, "networks": len(t.networks), "loss": t.loss, "share": t.share}
            for name, t in zip(names, trials, strict=True)
        ]
        if all(trial.recipe.solver for trial in trials):
            self.choice_.append({"recipe": "a constant answer", "networks": 0, "loss": constant, "share": 0.0})

    def summary(self) -> str:
        """Return in a line what `fit` chose and why: mean losses of each way on rows not learned from.

        They are of y as it is learned: standardised, or with bounds the way from one. What fell far behind on a first part of
        the rows was not tried on the others.
        """
        check_is_fitted(self)
        if not hasattr(self, "choice_"):
            solver = getattr(self, "_learned_by", self._solver)  # a model from a file was named what it learned by
            return f"{self.network_.name} by {solver}, {self.n_iter_} epochs, as it was asked for"
        used = sorted((c for c in self.choice_ if c["share"] > 0), key=lambda c: -c["share"])
        parts = " and ".join(
            (f"{100 * c['share']:.0f} % " if len(used) > 1 else "")
            + f"{c['networks']} network{'s' * (c['networks'] > 1)}, {c['recipe']} (mean loss {c['loss']:.4g})"
            for c in used
        )
        most = max(c["networks"] for c in self.choice_)
        rest = ", ".join(
            f"{c['recipe']} {c['loss']:.4g}"
            + (f" on {c['networks']} of {most} parts" if 0 < c["networks"] < most else "")
            for c in self.choice_
            if not c["share"]
        )
        what = "" if self.image_shape_ is None else f"images of {' x '.join(map(str, self.image_shape_))}: "
        late = ", when time was up" if self.time_limit is not None and self.seconds_ >= self.time_limit else ""
        return f"{what}{parts}, on rows not learned from; the others: {rest}; {self.seconds_:.1f} s{late}"

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, classes: npt.ArrayLike | None = None
    ) -> Self:
        self.check_parameters()
        first = not hasattr(self, "network_")
        table, labels, weight = self._examples(X, y, sample_weight, first, classes)
        if first:
            self.bends_ = self._bends(labels) if self.solver != AUTO else None
        labels = self._taught(labels)
        if not first and len(self.ensemble_.members) > 1:
            return self._go_on(table, labels, weight)
        rows = self._encoded(table)
        if first:
            self._start(labels, rows.shape[1])
        self._train(rows, labels, weight, 1, None, patient=False)
        return self

    def _go_on(self, table: Array, labels: Floats, weight: Array | None) -> Self:
        """Run one epoch with each network of an ensemble."""
        best, history = self.network_, self.history_
        for member in self.ensemble_.members:
            self.network_, self.history_ = member.network, History()
            self._train(self.ensemble_.encode(table, member), labels, weight, 1, None, patient=False, form=member.form)
        history.loss += self.history_.loss
        history.rate += self.history_.rate
        history.seconds += self.history_.seconds
        self.network_, self.history_ = best, history
        self._describe_history()
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):  # scikit-learn's own look is thorough, and slow
            check_is_fitted(self)

    def _outputs(self, X: Any) -> Floats:
        self._check_fitted()
        inputs = self.inputs_
        if self.ensemble_.alone and (inputs is None or inputs.plain) and self._plain(X):
            rows = X if inputs is None else inputs.scaled(X, self.dtype)
            return self.ensemble_.straight(self.network_.predict(rows, n_threads=self.n_threads or 1))
        return self.ensemble_.answer(self._table(X), self.n_threads or 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def coefs_(self) -> list[Floats]:
        """Weights of each layer, (in, out) as in scikit-learn; they apply to standardised inputs."""
        return [layer.weights.T for layer in self.network_.layers]

    @property
    def intercepts_(self) -> list[Floats]:
        """Biases of each layer, (out,)."""
        return [layer.bias for layer in self.network_.layers]


@dataclass(eq=False, repr=False)
class Regressor(RegressorMixin, _Network):  # type: ignore[misc]  # noqa: D101 (it has one, made below)
    __doc__ = f"""Learns numbers, one or several a row: by half the squared error, or another of its losses.

    {(_Network.__doc__ or "").partition(chr(10))[2].strip()}
    target_transform : {{"log", "asinh"}} or None, default "auto"
        Learn y bent, so that a heavy tail does not count for all, and undo it for the answer: its logarithm, for y above 0;
        or asinh, which is a logarithm on both sides of the median. By auto what rows not learned from show to be better,
        where a tail is heavy; nothing where a solver is named. Of half_squared_error, huber and quantile, without bounds; the
        logarithm also with a lower one alone, above which all of y then has to be.
    bounds : pair, optional
        (low, high): no prediction is below or above; None for the end that is open: (0, None) for what is positive. The
        output is then a softplus or a sigmoid, or what is learned the logarithm; at an end that is further from y than ten
        times y's range, it is cut off.

    Attributes
    ----------
    network_ : Network
        Of auto that of the largest share; all of them, with their shares, are `ensemble_.members`.
    choice_ : list of dict
        Of auto: each recipe that was tried, its networks, their mean loss on rows not learned from, and its share.
    inputs_ : Inputs or None
        What was learned of the columns of X; None where rows enter as they are, as images do.
    loss_curve_, validation_curve_ : list of float
        Of network_, per epoch, in units of the standardised targets, bent where they are. Of auto the latter is the mean loss
        of all networks of its recipe, on rows not learned from, at each of some twenty looks.
    n_iter_ : int
        Epochs run.
    coefs_, intercepts_ : list of ndarray
        Of network_: (in, out) and (out,) of each layer.
    history_ : History
        Of network_.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = Regressor(activation="tanh", solver="lbfgs", max_iter=500, random_state=0).fit(X, np.sin(3 * X[:, 0]))
    >>> model.score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    target_transform: str | None = AUTO
    bounds: Any = None
    _numeric = True
    _losses, _other = tuple(name for name in LOSSES if name not in SMOOTHED), "Classifier"

    def check_parameters(self) -> None:
        """Refuse parameters of a wrong kind or out of range, by their own names."""
        super().check_parameters()
        self._bounds()
        if self.target_transform is not None:
            choose("target_transform", self.target_transform, (AUTO, *BENDS))

    def _check_targets(self, y: Any, name: str = "y") -> Array:
        targets = data.as_numbers(y, name).astype(np.float64)
        data.check_known(targets, name)
        if (
            name == "y"
            and targets.ndim == 2
            and targets.shape[1] > 1
            and (empty := np.isnan(targets).all(axis=0)).any()
        ):
            raise data.DataError(f"{name}: column {int(empty.argmax())} holds no number at all; leave it out")
        if targets.ndim == 2 and targets.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected", DataConversionWarning, stacklevel=4
            )
            targets = targets[:, 0]
        if targets.ndim not in (1, 2):
            raise data.DataError(f"{name} must have shape (n,) or (n, k); got {targets.shape}")
        return targets

    def _learn_targets(self, y: Array, weight: Array | None, classes: npt.ArrayLike | None) -> None:
        self.loss_name_ = (
            "half_squared_error" if self.loss == "auto" else choose("loss", self.loss, LOSSES, LOSS_ALIASES)
        )
        columns = y.reshape(len(y), -1)
        low, high = self._felt(columns)
        natural = (
            "identity" if low is None and high is None else "softplus" if low is None or high is None else "sigmoid"
        )
        if low is not None and high is None and self._logarithmic(columns, low):
            natural = "identity"
        needed = LOSSES[self.loss_name_].output or natural
        if needed == "exp" and (low, high) == (0, None):
            natural = "exp"  # is never below 0 in any case
        self.out_activation_ = needed if self.output == "auto" else choose("output", self.output, OUTPUTS, ALIASES)
        if natural not in ("identity", self.out_activation_):
            raise ValueError(
                f"bounds={self.bounds!r} need output={natural!r}; got loss={self.loss_name_!r}, output={self.output!r}: "
                f"leave output at 'auto', with half_squared_error, huber or quantile"
            )
        self.single_output_, self.outputs_ = y.ndim == 1, columns.shape[1]
        least = low or 0.0
        if self.target_transform == "log" and (columns <= least).any():
            row, column = np.argwhere(columns <= least)[0].tolist()
            raise data.DataError(
                f"y must be above {least:g} for target_transform='log'; found {columns[row, column]:g} at row {row}, "
                f"column {column}. Use 'asinh'"
            )
        if natural in ("identity", "exp"):
            scaled = self.standardize and self.out_activation_ == "identity"
            by = Scale.robust if self.loss_name_ in ("huber", "quantile") else Scale.of
            self.target_scale_ = by(columns, weight) if scaled else None
        else:  # z is the way from a bound
            way = Scale.of(columns, weight).deviation
            if low is None:
                self.target_scale_ = Scale(np.full_like(way, high), -way)
            else:
                self.target_scale_ = Scale(
                    np.full_like(way, low), way if high is None else np.full_like(way, high - low)
                )

    def _bounds(self) -> tuple[float | None, float | None]:
        """Return the bounds, checked: None where an end is open."""
        if self.bounds is None:
            return None, None
        try:
            low, high = (
                None if e is None else data.check_number("bounds", e, -np.inf, np.inf, "()") for e in self.bounds
            )
        except (TypeError, ValueError):
            low, high = 1.0, 0.0
        if (low is None and high is None) or (low is not None and high is not None and low >= high):
            raise ValueError(
                f"bounds must be a pair (low, high), low below high, None for an open end; got {self.bounds!r}"
            )
        return low, high

    def _felt(self, columns: Array) -> tuple[float | None, float | None]:
        """Return the bounds without those that y is far from: by its own range the way to them would be too fine to learn."""
        low, high = self._bounds()
        if self.output == "auto" and LOSSES[self.loss_name_].output is None:
            least, most = np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)
            far = FAR * (most - least)
            low = None if low is None or (least - low > far).all() else low
            high = None if high is None or (high - most > far).all() else high
        return low, high

    @property
    def _way(self) -> int:
        scale = getattr(self, "target_scale_", None)
        return -1 if scale is not None and (scale.deviation < 0).any() else 1  # z is the way down from an upper bound

    @property
    def _quantile(self) -> float:
        return self.quantile if self._way > 0 else 1 - self.quantile

    @property
    def _bent(self) -> bool:
        return self.target_transform != AUTO

    def _logarithmic(self, columns: Array, low: float) -> bool:
        """Whether a y bounded below alone is to be learned by its logarithm, which needs no other output for that."""
        bent = self.loss_name_ in ("half_squared_error", "huber", "quantile") and self.output == "auto"
        if not bent or (columns <= low).any() or self.target_transform not in (AUTO, "log"):
            return False
        if self.target_transform == "log":
            return True
        free = self._solver == AUTO and self.loss_name_ == "half_squared_error"
        return free and Bends.learn(columns.astype(np.float64), np.full(columns.shape[1], low)) is not None

    def _bends(self, labels: Floats) -> Bends | None:
        asked = None if self.target_transform == AUTO else self.target_transform
        suits = self.out_activation_ == "identity" and self.loss_name_ != "gaussian"
        if asked is not None and not suits:
            raise ValueError(
                f"target_transform={asked!r} goes with half_squared_error, huber or quantile, without bounds, 'log' with a "
                f"lower one; got loss={self.loss_name_!r}, output={self.out_activation_!r}"
            )
        free = self._solver == AUTO and self.target_transform == AUTO and self.loss_name_ == "half_squared_error"
        if not (asked or (free and suits)):
            return None
        scale, least = self.target_scale_, (self._bounds() if asked else self._felt(self._undo(labels)))[0] or 0.0
        zeros = np.full(labels.shape[1], least) if scale is None else (least - scale.mean) / scale.deviation
        return Bends.learn(labels.astype(np.float64), zeros, asked)

    def _undo(self, labels: Floats) -> npt.NDArray[np.float64]:
        """Return labels in the units of y."""
        scale = self.target_scale_
        y = labels.astype(np.float64) if scale is None else scale.undo(labels)
        return y if self.bounds is None else np.clip(y, *self._bounds())

    def _labels(self, y: Array, name: str = "y") -> Floats:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != self.outputs_:
            raise data.DataError(
                f"{name} must have {self.outputs_} columns, as the y that was learned from first; got {columns.shape[1]}"
            )
        check_labels(columns, name, self.loss_name_)
        low, high = self._bounds()
        outside = (columns < (-np.inf if low is None else low)) | (columns > (np.inf if high is None else high))
        if outside.any():
            row, column = np.argwhere(outside)[0].tolist()
            raise data.DataError(
                f"{name} must lie within bounds={self.bounds!r}; found {columns[row, column]:g} at row {row}"
                + (f", column {column}" if y.ndim > 1 else "")
            )
        scaled: Floats = columns if self.target_scale_ is None else self.target_scale_.apply(columns, np.float64)
        return scaled

    def _weights(self, y: Array, weight: Array | None) -> Array | None:
        return weight

    def _strata(self, labels: Floats) -> None:
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Run one epoch on these rows; the first call fixes the scales."""
        return self._partial_fit(X, y, sample_weight)

    def score(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return R², the mean of all outputs'; of labels of which some are missing, NaN, the others count."""
        targets = data.as_numbers(y, "y")
        if targets.ndim < 2 or not np.isnan(targets.astype(np.float64)).any():
            return float(super().score(X, y, sample_weight))
        Z = np.asarray(self.predict(X))
        check_consistent_length(Z, targets)
        weight = np.ones(len(targets)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        known = [~np.isnan(column) for column in targets.T]
        each = [
            r2_score(l[k], z[k], sample_weight=weight[k])
            for l, z, k in zip(targets.T, Z.T, known, strict=True)
            if k.any()
        ]
        return float(np.mean(each))

    def predict(
        self, X: Any, return_std: bool = False
    ) -> npt.NDArray[np.float64] | tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the predicted y in its own units; (n,) or (n, k), like the y of `fit`.

        Parameters
        ----------
        X : array or frame, (n, d)
        return_std : bool, default False
            Of the gaussian loss: return a pair, the mean of y and its standard deviation at each row, shaped alike.
        """
        self._check_fitted()
        if data.check_flag("return_std", return_std) and self.loss_name_ != "gaussian":
            raise ValueError(
                f"return_std=True needs a model that learned the spread of y, and this one learned by "
                f"loss={self.loss_name_!r}: fit it with loss='gaussian'"
            )
        Z, scale = self._outputs(X).astype(np.float64), self.target_scale_
        means = Z[:, : self.outputs_]
        answers = [self._undo(means)]
        if return_std:
            spread = exponential(0.5 * Z[:, self.outputs_ :])  # σ = e^(s/2), of s = log σ² (80)
            answers.append(spread if scale is None else spread * scale.deviation)
        if self.single_output_:
            answers = [answer[:, 0] for answer in answers]
        return (answers[0], answers[1]) if return_std else answers[0]


@dataclass(eq=False, repr=False)
class Classifier(ClassifierMixin, _Network):  # type: ignore[misc]  # noqa: D101 (it has one, made below)
    __doc__ = f"""Learns classes, named by numbers or strings, or several labels a row: cross-entropy.

    {(_Network.__doc__ or "").partition(chr(10))[2].strip()}
    class_weight : dict, "balanced" or None, default None
        Weight of each class in the loss.

    Attributes
    ----------
    classes_ : ndarray
    network_ : Network
        Of auto that of the largest share; all of them, with their shares, are `ensemble_.members`.
    choice_ : list of dict
        Of auto: each recipe that was tried, its networks, their mean loss on rows not learned from, and its share.
    inputs_ : Inputs or None
        What was learned of the columns of X; None where rows enter as they are, as images do.
    loss_curve_, validation_curve_ : list of float
        Of network_, per epoch. Of auto the latter is the mean loss of all networks of its recipe, on rows not learned from,
        at each of some twenty looks.
    n_iter_ : int
        Epochs run.
    coefs_, intercepts_ : list of ndarray
        Of network_: (in, out) and (out,) of each layer.
    history_ : History
        Of network_.

    Examples
    --------
    >>> X = [[0.0], [0.1], [0.9], [1.0]]
    >>> model = Classifier(solver="lbfgs", random_state=0).fit(X, ["no", "no", "yes", "yes"])
    >>> model.predict([[0.05], [0.95]]).tolist()
    ['no', 'yes']
    """

    class_weight: Any = None
    _numeric = False
    _losses, _other = ("half_squared_error", *SMOOTHED), "Regressor"

    def _check_targets(self, y: Any, name: str = "y") -> Array:
        targets = np.asarray(y)
        if targets.dtype.kind == "f":
            data.check_finite(targets, name)
        if targets.dtype.kind == "M":
            raise data.DataError(f"{name} must hold classes; found dates. Make them text: {name}.astype(str)")
        if targets.ndim == 1 and (targets.dtype.kind == "O" or isinstance(y, list | tuple)):
            check_classes(list(y), name)  # of a list NumPy may have made text of all
        if targets.ndim == 2 and targets.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected", DataConversionWarning, stacklevel=4
            )
            targets = targets[:, 0]
        check_classification_targets(targets)
        return targets

    def _learn_targets(self, y: Array, weight: Array | None, classes: npt.ArrayLike | None) -> None:
        self.multilabel_ = type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            self.classes_ = np.arange(y.shape[1])
        else:
            if y.ndim > 1:
                raise ValueError(f"y must be (n,) classes, or (n, k) of 0 and 1; got shape {y.shape}")
            self.classes_ = np.unique(y) if classes is None else np.unique(classes)
        if len(self.classes_) < 2 and not self.multilabel_:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()[0]!r}; a classifier needs examples of at least two classes"
            )
        one = self.multilabel_ or len(self.classes_) == 2
        output = None if self.output == "auto" else choose("output", self.output, OUTPUTS, ALIASES)
        loss = None if self.loss == "auto" else choose("loss", self.loss, LOSSES, LOSS_ALIASES)
        if output is None:
            needed = None if loss is None else LOSSES[loss].output
            output = needed or ("sigmoid" if one else "softmax")
        if loss is None:
            loss = {"sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}.get(output, "half_squared_error")
        self.out_activation_, self.loss_name_ = output, loss

    def _labels(self, y: Array, name: str = "y") -> Floats:
        """Return a column a class with 1 where it is the row's, or for two classes and a sigmoid the second's alone."""
        if self.multilabel_:
            if y.shape[1:] != (len(self.classes_),):
                raise data.DataError(f"{name} must have {len(self.classes_)} columns of 0 and 1; got shape {y.shape}")
            return np.ascontiguousarray(y, dtype=self.dtype)
        index = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[index] != y
        if np.any(unknown):
            row = int(np.argmax(unknown))
            raise ValueError(
                f"{name} must hold the classes {self.classes_.tolist()}; found {y[row].tolist()!r} at row {row}"
            )
        labels: Floats = np.eye(len(self.classes_), dtype=self.dtype)[index]
        return labels[:, 1:] if len(self.classes_) == 2 and self.out_activation_ == "sigmoid" else labels

    def _weights(self, y: Array, weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return weight
        balanced = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(balanced).all() and (balanced >= 0).all() and balanced.any()):
            raise ValueError(f"class_weight must hold numbers of 0 or more, not all 0; got {self.class_weight!r}")
        return np.asarray(balanced if weight is None else balanced * weight)

    def _strata(self, labels: Floats) -> Array | None:
        if self.multilabel_:
            return None
        return labels[:, 0] if labels.shape[1] == 1 else labels.argmax(axis=1)

    def partial_fit(
        self, X: Any, y: Any, classes: npt.ArrayLike | None = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Run one epoch on these rows; the first call fixes the scales and names all `classes`."""
        if not hasattr(self, "network_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit")
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise ValueError(f"classes={classes!r} is not the same as on the first call, {self.classes_.tolist()}")
        return self._partial_fit(X, y, sample_weight, classes)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class, in the order of `classes_`; (n, n_classes)."""
        Z = self._outputs(X).astype(np.float64)
        if self.multilabel_:
            return Z
        if Z.shape[1] == 1:
            return np.hstack([1 - Z, Z])
        if self.out_activation_ != "softmax":  # outputs of their own: shares of what is positive
            Z = np.maximum(Z, 1e-12)
        return np.asarray(Z / Z.sum(axis=1, keepdims=True))

    def predict_log_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the logarithm of `predict_proba`."""
        return logarithm(self.predict_proba(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row; (n,), or (n, k) of 0 and 1 for several labels."""
        P = self.predict_proba(X)
        if self.multilabel_:
            return (P > 0.5).astype(int)
        return np.asarray(self.classes_[P.argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
