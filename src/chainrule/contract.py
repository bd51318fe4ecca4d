"""scikit-learn's contract, as `Regressor` and `Classifier` share it: from X and y to networks, from new rows to answers.

Without arguments they choose for themselves (solver="auto"): several kinds of networks are cross-fitted, and answer together.
With a solver named scikit-learn's defaults hold, so that replacing its MLPRegressor or MLPClassifier is a change of one line.
What differs: columns may be of any kind, inputs and the targets of regressions are scaled inside; the validation curve holds
losses; several outputs, sample and class weights work throughout.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from chainrule import data, images
from chainrule.auto.learner import Learner
from chainrule.auto.pace import Clock
from chainrule.auto.recipes import names_apart
from chainrule.auto.task import Task
from chainrule.auto.trainer import Trainer
from chainrule.auto.trials import Trial
from chainrule.data import Array, Floats
from chainrule.diagnosis import Remedies, complaints
from chainrule.ensemble import Ensemble, Member
from chainrule.evidence import spread_biases
from chainrule.functions import LOSSES, objective
from chainrule.images import Augmentation
from chainrule.inputs import PLAIN, Form, Inputs
from chainrule.network import Network
from chainrule.optimizers import FULL_BATCH, LEAST_SQUARES, SECOND_ORDER
from chainrule.parameters import AUTO, Parameters
from chainrule.problem import Problem
from chainrule.rows import FLOATING, Rows, checked
from chainrule.tables import is_missing
from chainrule.targets import Bends
from chainrule.training import History, Progress, train

NOT_OF_AUTO = (  # scikit-learn's parameters that say nothing of how auto trains
    "power_t", "shuffle", "tol", "momentum", "nesterovs_momentum", "early_stopping", "validation_fraction", "beta_1",
    "epsilon", "n_iter_no_change", "max_fun",
)  # fmt: skip

NAMED = 8  # columns in a summary


@contextlib.contextmanager
def _by_its_own_name() -> Iterator[None]:
    """Let what is said of a rate that is too large name scikit-learn's parameter."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(str(error).replace("learning_rate=", "learning_rate_init=")) from None


def say(line: str) -> None:
    """Print a line at once: threads may print at the same time."""
    print(line + "\n", end="", flush=True)


class Estimator(Parameters):
    """Dense networks that learn y from X; what y is and how answers are given, its two heirs say."""

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
        self._in_parts = False
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; got one without the other")
        go_on = self.warm_start and hasattr(self, "network_")
        started = time.perf_counter()
        table, labels, weight = self._examples(X, y, sample_weight, first=not go_on)
        validation = None
        if X_val is not None:
            targets = self._check_targets(y_val, "y_val")
            validation = (self._table(X_val, "X_val"), self._labels(targets, "y_val"))
            data.check_lengths(*validation, "X_val", "y_val")
        if self._solver == AUTO:
            self._fit_auto(table, labels, weight, validation, started)
            return self
        if not go_on:
            self.bends_ = self._bends(labels, weight)
        labels, rows = self._taught(labels), self.rows_.encoded(table, self.dtype)
        if validation is not None:
            validation = (self.rows_.encoded(validation[0], self.dtype), self._taught(validation[1]))
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
        rows = self._checked(X, reset=first)
        targets = self._check_targets(y)
        data.check_lengths(rows, targets)
        weight = data.as_weights(sample_weight, len(rows), np.dtype(np.float64))
        # Two rows of weight 1 are one row of weight 2: the penalty is shared by weight, not by rows.
        self._mean_weight = (
            1.0 if sample_weight is None else float(np.mean(np.asarray(sample_weight, dtype=np.float64)))
        )
        weight = self._weights(targets, weight)
        if first:
            table = self._learn_rows(X, rows, weight)
            self._learn_targets(targets, weight, classes)
        else:
            table = self.rows_.read(rows)
        return table, self._labels(targets), weight

    def _learn_rows(self, X: Any, rows: Any, weight: Array | None) -> Array:
        """Learn how rows are read, and return the table of these."""
        augment = self.augment if isinstance(self.augment, Augmentation) else None
        known = Rows.of_images(X, rows, augment, self._solver == AUTO)
        if known is not None:
            self.rows_, table = known, known.read(rows)
        else:
            scaling = "none" if not self.standardize else "robust" if self._solver == AUTO else "standard"
            self.rows_, table = Rows.learn(rows, scaling, weight)
        return table

    @property
    def inputs_(self) -> Inputs | None:
        """What was learned of the columns of X."""
        return self.rows_.inputs

    def _augmentation(self) -> Augmentation | None:
        """Return how images are distorted, where the user says it."""
        return replace(self.augment, shape=self.rows_.shape) if isinstance(self.augment, Augmentation) else None

    def _plain(self, X: Any) -> bool:
        """Whether X is a few rows with nothing to say against: scikit-learn's checks take ten times as long as they do."""
        return (
            type(X) is np.ndarray
            and X.dtype in FLOATING
            and X.ndim == 2
            and self.rows_.span is None
            and 0 < X.size < 10_000
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
            and bool(np.isfinite(X).all())
        )

    def _checked(self, X: Any, reset: bool, name: str = "X") -> Any:
        return X if not reset and self._plain(X) else checked(self, X, reset, name)

    def _table(self, X: Any, name: str = "X") -> Array:
        return self.rows_.read(self._checked(images.as_stack(X), reset=False, name=name), name)

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

    def _input_signs(self, form: Form) -> list[int] | None:
        signs = self._signs()
        return signs if signs is None or self.inputs_ is None else self.inputs_.signs(signs, form)

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

    def _bends(self, labels: Floats, weight: Array | None) -> Bends | None:
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
        table, labels = self.rows_.read(own, "x"), self._taught(self._labels(target, "l"))
        if self.rows_.span is not None:
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
            self.loss_name_,
            self.out_activation_,
            labels.shape[1],
            constants={"delta": self.delta, "quantile": self._quantile},
            engine=self.engine,
            dtype=self.dtype,
            clip=self.clip,
            max_norm=self.max_norm,
            mean_weight=self._mean_weight,
            monotone=self.monotonic_cst is not None,
            adversarial=self.adversarial,
        )

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

    @_by_its_own_name()
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
            monotone=self._input_signs(form),
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
        self._seed_, self._learned_by = self._seed(), ""
        self._check_objective(labels)
        settled, fixed = self._settled()
        if self.augment != AUTO and self.rows_.shape is not None:
            fixed["augment"] = self._augmentation()
        task = Task(
            self._problem(labels),
            self.inputs_,
            table,
            labels,
            weight,
            seed=self._seed_,
            fixed=fixed,
            images=self.rows_.shape,
            bends=self._bends(labels, weight),
            monotone=self._signs(),
            validation=validation,
        )
        clock = Clock(np.inf if self.time_limit is None else started + self.time_limit)
        trainer = Trainer(task, self._threads, clock, say if self.verbose else None)
        trainer.take_fewer(self._strata(labels))
        task = trainer.task
        if self.inputs_ is not None and self.monotonic_cst is None:
            self.inputs_.find_codes(task.table, task.labels)
        stated = [name for name in ("bounds", "monotonic_cst") if getattr(self, name, None) is not None]
        learner = Learner(trainer, Remedies(settled, stated))
        parts = None if self.ensemble == AUTO else int(self.ensemble)
        trials, pool = learner.learn(parts, self._strata(task.labels), self._bent)
        for message in learner.warnings:
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
        used = sorted((trial for trial in trials if trial.share > 0), key=lambda trial: -trial.share)
        self.bends_ = task.bends if used[0].recipe.bend else None
        self.ensemble_ = Ensemble(
            self.inputs_,
            [Member(made.network, made.form, t.share / len(t.made)) for t in used for made in t.made],
            self.bends_,
            pool,
        )
        self.network_, self.history_ = used[0].made[0].network, used[0].made[0].history
        if clock.stopped.is_set():
            self.history_.ending = "interrupted"
            warnings.warn(
                "training was interrupted; the networks that were trained by then answer", UserWarning, stacklevel=3
            )
        self.seconds_ = time.perf_counter() - started
        self._describe_history()
        self._describe_trials(trials, learner)

    def _describe_trials(self, trials: list[Trial], learner: Learner) -> None:
        task, clock, relevance = learner.task, learner.trainer.clock, learner.trainer.relevance
        recipes, best = [trial.recipe for trial in trials], max(trials, key=lambda trial: trial.share)
        names = [f"{name}{clock.said(recipe)}" for name, recipe in zip(names_apart(recipes), recipes, strict=True)]
        self.choice_: list[dict[str, Any]] = [
            {"recipe": name, "networks": len(t.networks), "parts": len(t.folds), "loss": t.loss, "share": t.share}
            | ({"rows": "all"} if t.of_all else {})
            | ({"columns": relevance.named(task.inputs, t.recipe.few)} if t.recipe.few and task.inputs else {})
            | ({"first": task.loss_of(t.folds, both)} if (both := best.answers_for(t.folds)) else {})
            for name, t in zip(names, trials, strict=True)
        ]
        if all(trial.recipe.solver for trial in trials):
            self.choice_.append(
                {"recipe": "a constant answer", "networks": 0, "parts": 0, "loss": learner.constant, "share": 0.0}
            )
        self.together_ = learner.loss
        self.hurried_ = clock.hurried and not clock.stopped.is_set()

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
            + f"{c['networks']} network{'s' * (c['networks'] > 1)}, {c['recipe']} (mean loss {c['loss']:.4g}"
            + (" before training on all rows" if "rows" in c else "")
            + (f"; columns {data.listed(c['columns'], NAMED)})" if "columns" in c else ")")
            for c in used
        )
        parts += f", together {self.together_:.4g}" if len(used) > 1 else ""
        parts_of = [c.get("parts", c["networks"]) for c in self.choice_]  # no file of an earlier version has parts
        most = max(parts_of)
        rest = ", ".join(
            f"{c['recipe']} {c['loss']:.4g}"
            + (f" on {count} of {most} parts" if 0 < count < most else "")
            + (f" (the first there {c['first']:.4g})" if "first" in c else "")
            for c, count in zip(self.choice_, parts_of, strict=True)
            if not c["share"]
        )
        what = "" if self.rows_.shape is None else f"images of {' x '.join(map(str, self.rows_.shape))}: "
        up = self.time_limit is not None and self.seconds_ >= self.time_limit
        late = ", when time was up" if up else ", to be ready in time" if self.hurried_ else ""
        return f"{what}{parts}, on rows not learned from; the others: {rest}; {self.seconds_:.1f} s{late}"

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, classes: npt.ArrayLike | None = None
    ) -> Self:
        self.check_parameters()
        first = not hasattr(self, "network_")
        self._in_parts = self._in_parts or first
        table, labels, weight = self._examples(X, y, sample_weight, first, classes)
        if first:
            self.bends_ = self._bends(labels, weight)
        labels = self._taught(labels)
        if not first and len(self.ensemble_.members) > 1:
            return self._go_on(table, labels, weight)
        rows = self.rows_.encoded(table, self.dtype)
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
            if member.network is best:
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
        as_is = inputs is None or (inputs.plain and self.ensemble_.members[0].form == PLAIN)
        if self.ensemble_.alone and as_is and self._plain(X):
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
