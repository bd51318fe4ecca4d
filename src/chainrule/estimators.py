"""`Regressor` and `Classifier`: what y is to each, and how they answer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import r2_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from chainrule import data
from chainrule.contract import Estimator
from chainrule.data import Array, Floats, Scale
from chainrule.elementary import exponential, logarithm
from chainrule.functions import ALIASES, LOSS_ALIASES, LOSSES, OUTPUTS, SMOOTHED, check_labels, choose
from chainrule.parameters import AUTO, Parameters
from chainrule.tables import is_missing
from chainrule.targets import BENDS, Bends

FAR = 10.0  # ranges of y


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


@dataclass(eq=False, repr=False)
class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]  # noqa: D101 (it has one, made below)
    __doc__ = f"""Learns numbers, one or several a row: by half the squared error, or another of its losses.

    {(Parameters.__doc__ or "").partition(chr(10))[2].strip()}
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
    together_ : float
        Of auto: the mean loss of all that answer together, on rows not learned from; of classes before the temperature.
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
        if low is not None and high is None and self._logarithmic(columns, low, weight):
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

    def _logarithmic(self, columns: Array, low: float, weight: Array | None) -> bool:
        """Whether a y bounded below alone is to be learned by its logarithm, which needs no other output for that."""
        bent = self.loss_name_ in ("half_squared_error", "huber", "quantile") and self.output == "auto"
        if not bent or (columns <= low).any() or self.target_transform not in (AUTO, "log"):
            return False
        if self.target_transform == "log":
            return True
        free = self._solver == AUTO and self.loss_name_ == "half_squared_error"
        zeros = np.full(columns.shape[1], low)
        return free and Bends.learn(columns.astype(np.float64), zeros, None, weight) is not None

    def _bends(self, labels: Floats, weight: Array | None) -> Bends | None:
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
        return Bends.learn(labels.astype(np.float64), zeros, asked, weight)

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
        data.check_lengths(Z, targets)
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
class Classifier(ClassifierMixin, Estimator):  # type: ignore[misc]  # noqa: D101 (it has one, made below)
    __doc__ = f"""Learns classes, named by numbers or strings, or several labels a row: cross-entropy.

    {(Parameters.__doc__ or "").partition(chr(10))[2].strip()}
    class_weight : dict, "balanced" or None, default None
        Weight of each class in the loss.

    Attributes
    ----------
    classes_ : ndarray
    network_ : Network
        Of auto that of the largest share; all of them, with their shares, are `ensemble_.members`.
    choice_ : list of dict
        Of auto: each recipe that was tried, its networks, their mean loss on rows not learned from, and its share.
    together_ : float
        Of auto: the mean loss of all that answer together, on rows not learned from; of classes before the temperature.
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
        weighted = self.class_weight if isinstance(self.class_weight, dict) and not self.multilabel_ else {}
        unknown = [label for label in weighted if label not in self.classes_]
        if unknown:
            they = data.listed(self.classes_.tolist(), 20)
            raise ValueError(f"class_weight names {unknown[0]!r}, which is no class of y; they are {they}")
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
        given = self.class_weight
        if not isinstance(given, dict | list) and given != "balanced":
            raise ValueError(f"class_weight must be 'balanced', or a dict of the classes' weights; got {given!r}")
        if isinstance(given, dict) and y.ndim == 1:  # of what it does not name 1, as in scikit-learn
            for label, number in given.items():
                data.check_number(f"class_weight of {label!r}", number, 0, np.inf, "[)")
            balanced = np.array([given.get(value, 1.0) for value in y.tolist()])
        else:
            balanced = compute_sample_weight(given, y)
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
