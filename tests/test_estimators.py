"""Regressor and Classifier: scikit-learn's contract, and what goes beyond it."""

from __future__ import annotations

import inspect
import pickle
import re
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import chainrule
from chainrule import Classifier, Regressor, diagnosis
from chainrule.parameters import DEFAULTS
from chainrule.problem import Problem

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROUNDING = (
    "a row of weight 2 and two rows of weight 1 are summed in another order: equal to float32's rounding, not to 1e-7"
)


def expected_failures(estimator):
    if estimator.dtype == "float32":
        return {"check_sample_weight_equivalence_on_dense_data": ROUNDING}
    return {}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        Regressor(),
        Classifier(),
        Regressor(solver="adam", max_iter=100),
        Classifier(solver="adam", max_iter=100),
        Regressor(solver="adam", dtype="float64"),  # the defaults, and no failure at all
        Classifier(solver="adam", dtype="float64"),
        Regressor(solver="lbfgs", dtype="float64", activation="tanh"),
        Classifier(solver="sgd", learning_rate_init=0.1, dtype="float64", standardize=False),
        Regressor(solver="adam", early_stopping=True, learning_rate_init=0.01),
        Classifier(solver="adam", max_iter=20, output="sigmoid", loss="half_squared_error", dtype="float64"),
        Regressor(loss="gaussian", solver="adamw", learning_rate="onecycle", learning_rate_init=0.01, dtype="float64"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("ours", "theirs"), [(Regressor, MLPRegressor), (Classifier, MLPClassifier)])
def test_replaces_scikit_learns_by_a_change_of_one_line(ours, theirs):
    """Every parameter of the MLP is there; with a solver named, with the same default, but for the regressor's loss."""
    mine, model = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    for name, parameter in model.items():
        assert name in mine
        if name not in ("loss", "solver"):
            default = mine[name].default
            assert ("auto" if default == parameter.default else DEFAULTS.get(name, default)) in (
                "auto",
                parameter.default,
            )
    settings = {
        "hidden_layer_sizes": (16, 8), "activation": "logistic", "solver": "sgd", "alpha": 0.01, "batch_size": 16,
        "learning_rate": "adaptive", "learning_rate_init": 0.05, "power_t": 0.4, "max_iter": 30, "shuffle": True,
        "random_state": 0, "tol": 1e-5, "verbose": False, "warm_start": False, "momentum": 0.8,
        "nesterovs_momentum": False, "early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 5,
    }  # fmt: skip
    data = load_iris(return_X_y=True)
    for model in (ours(**settings), theirs(**settings)):
        model.fit(*data)
        assert model.score(*data) > 0.5
        assert [c.shape for c in model.coefs_][:2] == [(4, 16), (16, 8)]
        assert model.n_layers_ == 4
        assert isinstance(model.loss_curve_, list)


def test_penalty_is_scikit_learns():
    """Full batch, same start, no standardising: the losses follow scikit-learn's, penalty included."""
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    settings = {"hidden_layer_sizes": (5,), "activation": "tanh", "solver": "sgd", "momentum": 0, "alpha": 3.0, "tol": 0,
                "learning_rate_init": 0.1, "max_iter": 1, "batch_size": 150}  # fmt: skip
    theirs = MLPClassifier(**settings, random_state=0, shuffle=False).fit(X, y)
    ours = Classifier(**settings, standardize=False, dtype="float64", warm_start=True, shuffle=False).fit(X, y)
    for layer, coefficients, intercepts in zip(ours.network_.layers, theirs.coefs_, theirs.intercepts_, strict=True):
        layer.weights[:], layer.bias[:] = coefficients.T, intercepts
    for _ in range(3):
        theirs.partial_fit(X, y)
        ours.partial_fit(X, y)
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_classifier_learns_digits():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    model = Classifier(solver="adam", max_iter=60, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.96
    P = model.predict_proba(X_test)
    assert P.shape == (450, 10)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-12)


def test_regressor_needs_no_scaling_by_the_user():
    X, y = load_diabetes(return_X_y=True)
    X, y = X * np.geomspace(1e-6, 1e6, 10) + 1e5, y * 1e4 + 1e7
    model = Regressor(solver="adam", max_iter=300, alpha=1.0, hidden_layer_sizes=(20,), random_state=0).fit(X, y)
    assert model.score(X, y) > 0.5
    assert abs(model.predict(X).mean() - y.mean()) < 0.05 * y.std()


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e30, 1e200])
def test_units_do_not_matter(unit):
    X, y = load_diabetes(return_X_y=True)
    settings = {"solver": "adam", "max_iter": 20, "random_state": 0}
    plain = Regressor(**settings).fit(X, y).predict(X)
    np.testing.assert_allclose(Regressor(**settings).fit(X * unit, y * unit).predict(X * unit) / unit, plain, rtol=1e-3)


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [3, 7], [False, True], [1.0, 2.0, 4.0]], ids=str)
def test_labels_of_any_kind_come_back(labels):
    rng = np.random.default_rng(0)
    y = np.array(labels)[rng.integers(0, len(labels), 120)]
    X = np.array([[list(labels).index(v), 0.0] for v in y.tolist()]) + rng.normal(0, 0.05, (120, 2))
    model = Classifier(solver="lbfgs", max_iter=50, random_state=0).fit(X, y)
    assert model.classes_.tolist() == sorted(labels)
    np.testing.assert_array_equal(model.predict(X), y)
    assert model.predict(X).dtype == y.dtype


def test_two_classes_with_the_textbook_network():
    X, y = load_iris(return_X_y=True)
    for output in ("sigmoid", "softmax", "identity", "tanh"):
        model = Classifier(solver="adam", output=output, loss="half_squared_error", max_iter=200, random_state=0).fit(
            X[:100], y[:100]
        )
        assert model.score(X[:100], y[:100]) == 1
        np.testing.assert_allclose(model.predict_proba(X[:100]).sum(axis=1), 1)


def test_several_outputs():
    X = np.random.default_rng(0).normal(size=(200, 3))
    Y = np.column_stack([X[:, 0] ** 2, 1000 * X[:, 1], X.sum(axis=1)])
    model = Regressor(solver="lbfgs", max_iter=400, random_state=0).fit(X, Y)
    assert model.predict(X).shape == (200, 3)
    assert model.score(X, Y) > 0.98
    X, Y = make_multilabel_classification(n_samples=200, n_classes=4, random_state=0)
    several = Classifier(max_iter=200, solver="lbfgs", random_state=0).fit(X, Y)
    assert several.predict(X).shape == Y.shape
    assert several.score(X, Y) > 0.9


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_their_names(library):
    X, y = load_iris(return_X_y=True)
    frame = library({name: X[:, i] for i, name in enumerate(("a", "b", "c", "d"))})
    model = Classifier(solver="adam", max_iter=20, random_state=0).fit(frame, y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(
        model.predict(frame), Classifier(solver="adam", max_iter=20, random_state=0).fit(X, y).predict(X)
    )
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d"]])
    series = (pd.Series if library is pd.DataFrame else pl.Series)(y)
    assert Classifier(max_iter=20, solver="lbfgs", random_state=0).fit(frame, series).score(frame, y) > 0.8


def test_frames_of_small_integers_are_numbers_not_images():
    frame = pd.DataFrame({"age": np.arange(20, 60, dtype=np.uint8)})
    y = np.arange(40.0)
    model = Regressor(solver="lbfgs", max_iter=100, random_state=0).fit(frame, y)
    assert model.rows_.span is None
    assert model.score(frame, y) > 0.99


def test_images_stay_bytes():
    X, y = load_digits(return_X_y=True)
    grey = (X * 15).astype(np.uint8)
    model = Classifier(solver="adam", max_iter=30, random_state=0).fit(grey, y)
    assert model.rows_.span == (0, 255)
    assert model.inputs_ is None
    np.testing.assert_array_equal(model.predict_proba(grey), model.predict_proba(grey.astype("f") / np.float32(255)))


def test_sample_weight_and_class_weight():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(0, 1, (190, 1)), rng.normal(1, 1, (10, 1))]
    y = np.r_[np.zeros(190, int), np.ones(10, int)]
    settings = {"hidden_layer_sizes": (5,), "max_iter": 50, "learning_rate_init": 0.05, "random_state": 0}
    plain = Classifier(**settings).fit(X, y)
    balanced = Classifier(**settings, class_weight="balanced").fit(X, y)
    weighted = Classifier(**settings).fit(X, y, sample_weight=np.where(y, 10.0, 200 / 380))
    by_name = Classifier(**settings, class_weight={0: 200 / 380, 1: 10.0}).fit(X, y)
    assert balanced.predict(X).sum() > plain.predict(X).sum() + 20
    np.testing.assert_array_equal(weighted.predict(X), balanced.predict(X))
    np.testing.assert_array_equal(by_name.predict(X), balanced.predict(X))


def test_validation_set_of_the_users_own():
    X, y = load_digits(return_X_y=True)
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    watched = Classifier(solver="adam", max_iter=2000, early_stopping=True, random_state=0).fit(
        X, y, X_val=X_val, y_val=y_val
    )
    assert watched.n_iter_ < 2000
    assert len(watched.validation_curve_) == watched.n_iter_
    assert watched.history_.best_epoch == int(np.argmin(watched.validation_curve_)) + 1
    only_seen = Classifier(solver="adam", max_iter=5, random_state=0).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(only_seen.validation_curve_) == 5
    np.testing.assert_array_equal(
        only_seen.coefs_[0], Classifier(solver="adam", max_iter=5, random_state=0).fit(X, y).coefs_[0]
    )
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        Classifier(solver="adam").fit(X, y, X_val=X_val)
    with pytest.raises(ValueError, match=r"y_val must hold the classes .*found 11 at row 2"):
        Classifier(solver="adam").fit(X, y, X_val=X_val[:3], y_val=[1, 2, 11])


def test_early_stopping_sets_rows_aside():
    X, y = load_digits(return_X_y=True)
    model = Classifier(solver="adam", early_stopping=True, max_iter=2000, random_state=0).fit(X, y)
    assert model.n_iter_ < 2000
    assert model.best_loss_ == min(model.validation_curve_)


def test_what_the_loss_has_no_place_for_is_said():
    for settings in ({"quantile": 0.9}, {"delta": 0.1, "loss": "quantile"}):
        with pytest.warns(UserWarning, match=r"(quantile=0.9 is of loss='quantile'|delta=0.1 is of loss='huber')"):
            Regressor(solver="adam", max_iter=1, tol=0, **settings).check_parameters()


def test_shapes_and_names_are_refused_with_a_remedy(rng):
    X, y = rng.normal(size=(30, 2)), np.arange(30.0)
    model = Regressor(solver="adam", max_iter=1, tol=0)
    with pytest.raises(ValueError, match=r"got shape \(30,\). Reshape your data: X.reshape\(-1, 1\)"):
        model.fit(X[:, 0], y)
    with pytest.raises(ValueError, match=r"Reshape your data: a frame, as X.to_frame\(\)"):
        model.fit(pd.Series(X[:, 0]), y)
    with pytest.raises(ValueError, match="X must hold real numbers"):
        model.fit(X + 1j, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(pd.DataFrame(X, columns=["a", "b"]), y)
    with pytest.raises(ValueError, match=r"in their order: X\[list\(model.feature_names_in_\)\]"):
        model.predict(pd.DataFrame(X, columns=["b", "a"]))
    with pytest.raises(FloatingPointError, match="learning_rate_init=1e"):
        Regressor(solver="sgd", learning_rate_init=1e30, random_state=0).fit(1e3 * X, y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("even", "class_weight must be 'balanced', or a dict of the classes' weights; got 'even'"),
        ({0: 1, 1: 1, 2: 3}, "class_weight names 2, which is no class of y; they are 0, 1"),
        ({0: 1, 5: 3}, "class_weight names 5, which is no class of y; they are 0, 1"),
        ({0: -1, 1: 1}, "class_weight of 0 must be a finite number, 0 or more; got -1"),
        ({0: np.nan, 1: 1}, "class_weight of 0 must be a finite number, 0 or more; got nan"),
        ({0: "much"}, "class_weight of 0 must be a finite number, 0 or more; got 'much'"),
        ({0: 0, 1: 0}, "class_weight must hold numbers of 0 or more, not all 0"),
    ],
)
def test_weights_of_classes_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Classifier(class_weight=given, solver="adam", max_iter=1).fit(TINY, np.arange(len(TINY)) % 2)


def test_partial_fit_begins_as_adam_does(rng):
    """Of auto, too: a column that is constant in the first rows, bent targets, bounds, and answers that may only rise."""
    X = np.column_stack([rng.normal(size=(4000, 1)), np.arange(4000) >= 100])
    y = X[:, 0] + 3 * X[:, 1]
    model = Regressor(random_state=0).partial_fit(X[:100], y[:100])
    for _ in range(10):
        model.partial_fit(X, y)
    assert np.sqrt(np.mean((model.predict(X[100:]) - y[100:]) ** 2)) < 0.3

    heavy = np.exp(2 * X[:, 0])
    for settings in ({"target_transform": "log"}, {"bounds": (0, None)}, {"monotonic_cst": [1, 0]}):
        models = [Regressor(solver=solver, random_state=0, **settings) for solver in ("auto", "adam")]
        for _ in range(3):
            for each in models:
                each.partial_fit(X, heavy)
        np.testing.assert_array_equal(models[0].predict(X), models[1].predict(X))
        assert (models[0].bends_ is not None) == ("target_transform" in settings)
    model.fit(X[:300], y[:300])
    assert "bayesian" in model.summary(), "a fit is of auto again"


def test_partial_fit_goes_on_where_answers_may_only_rise(rng):
    X = rng.uniform(-1, 1, (200, 3))
    model = Regressor(random_state=0, monotonic_cst=[1, 0, 0], max_iter=10, ensemble=2).fit(X, X[:, 0] + X[:, 1] ** 2)
    assert any(member.form.bins for member in model.ensemble_.members)
    before = list(model.loss_curve_)
    model.partial_fit(X, X[:, 0] + X[:, 1] ** 2)
    assert model.loss_curve_[:-1] == before
    grid = np.column_stack([np.linspace(-1, 1, 50), np.zeros((50, 2))])
    assert (np.diff(model.predict(grid)) >= 0).all()


def test_partial_fit_after_a_named_fit_and_one_of_auto():
    model = Regressor(5, solver="adam", max_iter=2, random_state=0).fit(TINY, TINY[:, 0])
    model.set_params(solver="auto", hidden_layer_sizes=3, time_limit=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(TINY, TINY[:, 0])
    model.partial_fit(TINY, TINY[:, 0])  # its state is not that of another network


def test_partial_fit_goes_on():
    X, y = load_digits(return_X_y=True)
    model = Classifier(solver="adam", random_state=0)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X[:500], y[:500])
    for _ in range(20):
        for part in np.array_split(np.arange(len(X)), 4):
            model.partial_fit(X[part], y[part], classes=np.arange(10))
    assert model.score(X, y) > 0.95
    assert model.n_iter_ == 80
    with pytest.raises(ValueError, match="not the same as on the first call"):
        model.partial_fit(X, y, classes=[1, 2])
    with pytest.raises(ValueError, match="found 12 at row 0"):
        model.partial_fit(X[:1], [12])
    regressor = Regressor(solver="adam", random_state=0)
    for _ in range(50):
        regressor.partial_fit(X, y)
    assert regressor.score(X, y) > 0.8


def test_warm_start_is_training_on():
    X, y = load_iris(return_X_y=True)
    model = Classifier(solver="adam", max_iter=10, warm_start=True, random_state=0)
    for _ in range(3):
        model.fit(X, y)
    through = Classifier(solver="adam", max_iter=30, random_state=0).fit(X, y)
    assert model.n_iter_ == 30
    np.testing.assert_array_equal(model.coefs_[0], through.coefs_[0])


def test_equal_seeds_give_equal_bits_and_none_gives_others():
    X, y = load_iris(return_X_y=True)
    a, b, c, d = (Classifier(solver="adam", max_iter=3, random_state=s).fit(X, y).coefs_[0] for s in (1, 1, None, None))
    np.testing.assert_array_equal(a, b)
    assert (c != d).any()
    e = Classifier(solver="adam", max_iter=3, random_state=np.random.RandomState(0)).fit(X, y)
    f = Classifier(solver="adam", max_iter=3, random_state=np.random.RandomState(0)).fit(X, y)
    np.testing.assert_array_equal(e.coefs_[0], f.coefs_[0])


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_engine_of_an_estimator(engine):
    X, y = load_iris(return_X_y=True)
    model = Classifier(solver="adam", max_iter=3, random_state=0, engine=engine, dtype="float64").fit(X, y)
    assert model.network_.engine == engine
    np.testing.assert_allclose(
        model.predict_proba(X),
        Classifier(solver="adam", max_iter=3, random_state=0, dtype="float64").fit(X, y).predict_proba(X),
    )


def test_in_the_company_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Classifier(max_iter=50, solver="lbfgs", random_state=0)),
        {"classifier__hidden_layer_sizes": [(5,), (20,)], "classifier__alpha": [1e-4, 1e-2]},
        cv=3,
    ).fit(X, y)
    assert search.best_score_ > 0.9
    assert (
        cross_val_score(
            Regressor(solver="lbfgs", alpha=1.0, random_state=0),
            X[:, :3],
            X[:, 3],
            cv=KFold(3, shuffle=True, random_state=0),
        ).mean()
        > 0.5
    )
    model = Classifier(solver="adam", max_iter=5).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert not hasattr(clone(model), "network_")
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    assert "Classifier(max_iter=5, solver='adam')" in repr(model)


def test_not_converged_is_said():
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="max_iter=2 epochs were run"):
            Classifier(solver="adam", max_iter=2).fit(X, y)
        Classifier(solver="adam", max_iter=100, tol=0, learning_rate_init=0.02, random_state=0).fit(X, y)


def test_verbose_prints_a_line_an_epoch(capsys):
    X, y = load_iris(return_X_y=True)
    Classifier(solver="adam", max_iter=3, tol=0, verbose=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  loss ")
    assert "rows/s" in lines[0]
    assert "left" in lines[0]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[1.0], [-np.inf], [2.0]], [0, 1, 0], "X must hold finite numbers; found -inf at row 1, column 0"),
        ([[1.0], [3.0], [2.0]], [0, np.nan, 1], "y must hold finite numbers; found NaN at row 1"),
        ([[1.0], ["x"], [2.0]], [0, 1, 0], "X, column 0: most values are a number; found 'x' at row 1"),
        ([[1.0], [3.0], [2.0]], [0, 1], "y must have one row for each of the 3 rows of X; found 2"),
        (pd.DataFrame({"t": [1.0, np.inf, 3.0]}), [0, 1, 0], "found inf at row 1, column 't'"),
        (
            pd.DataFrame({"t": ["1", "warm", "3"]}),
            [0, 1, 0],
            "column 't': most values are a number; found 'warm' at row 1",
        ),
        (
            pd.DataFrame({"t": [{}, {}, {}]}),
            [0, 1, 0],
            "column 't': an argument must be a string or a number; found dict",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", [Regressor(solver="adam", max_iter=1), Classifier(solver="adam", max_iter=1)])
def test_bad_input(model, X, y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X if isinstance(X, pd.DataFrame) else np.array(X, dtype=object if "x" in str(X) else None), y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rellu"}, "activation must be one of .*Did you mean 'relu'"),
        ({"solver": "adagrad"}, "solver must be one of"),
        ({"loss": ["huber"]}, r"loss must be one of auto, .*; got \['huber'\]"),
        ({"n_threads": 2000}, "n_threads must be a whole number of 1 to 1024"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes\[0\] must be a whole number of 1"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"batch_size": "auto!"}, "batch_size must be"),
        ({"learning_rate_init": -1}, "learning_rate_init must be a finite number, above 0"),
        ({"loss": "cross_entropy", "output": "sigmoid"}, "goes with output='softmax'"),
        (
            {"validation_fraction": 2.0, "early_stopping": True},
            "validation_fraction must be a finite number, above 0, below 1",
        ),
        ({"random_state": -3}, "random_state must be"),
    ],
    ids=str,
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Classifier(**settings).fit(*load_iris(return_X_y=True))


# ---- losses, settings and schedules of its own --------------------------------------------------------------------------


def test_quantiles_in_the_targets_units():
    rng = np.random.default_rng(0)
    X = rng.random((500, 1))
    y = 1000 + 50 * rng.normal(size=500)
    settings = {"loss": "quantile", "max_iter": 100, "learning_rate_init": 0.01, "random_state": 0}
    low, high = (Regressor(quantile=q, **settings).fit(X, y).predict(X) for q in (0.1, 0.9))
    assert np.mean(y < low) == pytest.approx(0.1, abs=0.04)
    assert np.mean(y < high) == pytest.approx(0.9, abs=0.04)


def test_mean_and_deviation_in_the_targets_units():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (800, 1))
    spread = np.where(X[:, 0] > 0, 30.0, 3.0)
    y = 500 + 100 * X[:, 0] + spread * rng.normal(size=800)
    settings = {"solver": "adam", "learning_rate": "cosine", "learning_rate_init": 0.01, "batch_size": 50, "max_iter": 100,
                "tol": 0}  # fmt: skip
    model = Regressor(loss="gaussian", random_state=0, **settings).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X))
    assert model.score(X, y) > 0.85
    assert np.median(deviation[X[:, 0] > 0.2]) == pytest.approx(30, rel=0.25)
    assert np.median(deviation[X[:, 0] < -0.2]) == pytest.approx(3, rel=0.4)
    assert (model.network_.sizes, model.n_outputs_) == ((1, 100, 2), 1)
    Y = np.column_stack([y, -y / 10])
    both = Regressor(solver="adam", loss="gaussian", max_iter=3, random_state=0).fit(X, Y)
    assert [a.shape for a in both.predict(X, return_std=True)] == [(800, 2)] * 2
    plain = Regressor(solver="adam", loss="gaussian", standardize=False, max_iter=3, random_state=0).fit(X, y / 500)
    assert (plain.predict(X, return_std=True)[1] > 0).all()
    with pytest.raises(ValueError, match=r"return_std=True needs .* loss='huber': fit it with loss='gaussian'"):
        Regressor(solver="adam", loss="huber", max_iter=2).fit(X, y).predict(X, return_std=True)
    with pytest.raises(ValueError, match="return_std must be True or False; got 1"):
        model.predict(X, return_std=1)


def test_counts():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 2))
    y = rng.poisson(np.exp(1 + X[:, 0] - X[:, 1]))
    model = Regressor(solver="adam", loss="poisson", max_iter=100, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert (model.out_activation_, model.target_scale_) == ("exp", None)
    truth = np.exp(1 + X[:, 0] - X[:, 1])
    assert np.corrcoef(model.predict(X), truth)[0, 1] > 0.95
    assert model.predict(X).mean() == pytest.approx(y.mean(), rel=0.1)
    with pytest.raises(
        ValueError, match="y must hold counts or rates, 0 or more, for loss='poisson'; found -1 at row 0"
    ):
        Regressor(solver="adam", loss="poisson").fit(X, y - y.max() - 1.0 + (y.max() - y[0]))
    with pytest.raises(ValueError, match="y_val must hold counts or rates"):
        Regressor(solver="adam", loss="poisson").fit(X, y, X_val=X, y_val=-y - 1.0)


def test_huber_counts_in_deviations_of_the_target():
    X, y = load_diabetes(return_X_y=True)
    settings = {"loss": "huber", "delta": 0.5, "max_iter": 20, "random_state": 0}
    plain = Regressor(**settings).fit(X, y).predict(X)
    np.testing.assert_allclose(Regressor(**settings).fit(X, 1000 * y).predict(X) / 1000, plain, rtol=1e-3)


def test_an_activation_for_each_layer():
    X, y = load_iris(return_X_y=True)
    model = Classifier((8, 6), solver="adam", activation=["tanh", "logistic"], max_iter=5, tol=0, warm_start=True).fit(
        X, y
    )
    assert model.network_.activations == ("tanh", "sigmoid", "softmax")
    model.fit(X, y)
    with pytest.raises(ValueError, match="activation is now"):
        model.set_params(activation=["logistic", "tanh"]).fit(X, y)
    with pytest.raises(ValueError, match="activation must be one name, or one for each of the 2 hidden layers; got 1"):
        Classifier((8, 6), solver="adam", activation=["tanh"]).fit(X, y)


@pytest.mark.parametrize("solver", ["momentum", "nesterov", "adamw", "rmsprop", "rprop"])
def test_more_solvers(solver):
    X, y = load_iris(return_X_y=True)
    model = Classifier(solver=solver, learning_rate_init=0.01, max_iter=100, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95


def test_schedules():
    X, y = load_iris(return_X_y=True)
    settings = {
        "solver": "adam",
        "max_iter": 12,
        "tol": 0,
        "random_state": 0,
        "learning_rate_init": 0.01,
        "batch_size": 50,
    }
    rates = {name: Classifier(learning_rate=name, **settings).fit(X, y).history_.rate for name in
             ("constant", "step", "cosine", "onecycle", "invscaling")}  # fmt: skip
    np.testing.assert_allclose(rates["step"], [0.01] * 10 + [0.001] * 2)
    np.testing.assert_allclose(rates["cosine"], 0.005 * (1 + np.cos(np.pi * np.arange(12) / 12)))
    assert rates["onecycle"][0] == 0.0004
    assert max(rates["onecycle"]) > 0.0095
    assert rates["invscaling"] == rates["constant"], "as scikit-learn's, of sgd alone"
    assert Classifier(solver="lbfgs", learning_rate="adaptive", max_iter=3).fit(X, y).n_iter_ == 3
    for solver in ("lbfgs", "rprop"):
        with pytest.raises(ValueError, match="learning_rate='cosine' has nothing to change: solver="):
            Classifier(solver=solver, learning_rate="cosine").fit(X, y)


def test_regularisers_regularise():
    """Noise that a network can learn by heart: less so with each of them."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 10)), rng.integers(0, 2, 60)
    settings = {"solver": "adam", "max_iter": 150, "tol": 0, "learning_rate_init": 0.01, "random_state": 0, "alpha": 0}
    by_heart = Classifier(**settings).fit(X, y)
    assert by_heart.score(X, y) == 1
    surest = np.abs(by_heart.predict_proba(X) - 0.5).mean()
    for change in ({"dropout": 0.8}, {"dropout": [0.5, 0.0]}, {"weight_decay": 10.0}, {"max_norm": 0.1},
                   {"label_smoothing": 0.5}, {"adversarial": 1.0}):  # fmt: skip
        model = Classifier(**settings, **change).fit(X, y)
        assert np.abs(model.predict_proba(X) - 0.5).mean() < 0.9 * surest, change


def test_new_parameters_are_cloned_and_pickled():
    X, y = load_diabetes(return_X_y=True)
    model = Regressor((6, 5), activation=("tanh", "relu"), solver="adamw", loss="gaussian", dropout=(0.1, 0.2, 0.0), clip=1.0,
                      max_norm=2.0, adversarial=0.01, weight_decay=0.1, learning_rate="cosine", max_iter=3,
                      random_state=0)  # fmt: skip
    again = pickle.loads(pickle.dumps(clone(model).fit(X, y)))
    assert again.get_params() == model.get_params()
    assert again.history_.hash == model.fit(X, y).history_.hash
    assert len(again.history_.hash) == 16
    for mine, theirs in zip(again.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("loss", ["huber", "quantile", "poisson", "gaussian"])
def test_losses_of_the_other_kind(loss):
    with pytest.raises(ValueError, match=f"loss='{loss}' is not one of a Classifier's: .*; a Regressor takes it"):
        Classifier(solver="adam", loss=loss).fit(TINY, TINY[:, 0] > 0.5)
    for other in ("cross_entropy", "log_loss", "binary_cross_entropy"):
        with pytest.raises(ValueError, match=r"is not one of a Regressor's: .*; a Classifier takes it"):
            Regressor(solver="adam", loss=other).fit(TINY, TINY[:, 0])


def test_one_class_only():
    with pytest.raises(ValueError, match="y has one class only, 'a'"):
        Classifier(solver="adam").fit([[1.0], [2.0]], ["a", "a"])


def test_divergence():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(FloatingPointError, match="training diverged"):
        Regressor(solver="sgd", learning_rate_init=1e6).fit(X, y)


# ---- what a user of scikit-learn may try ---------------------------------------------------------------------------------

TINY = np.random.default_rng(0).random((40, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shuffle": None}, "shuffle must be True or False; got None"),
        ({"early_stopping": "yes"}, "early_stopping must be True or False"),
        ({"epsilon": "x"}, "epsilon must be a finite number, above 0; got 'x'"),
        ({"epsilon": -1}, "epsilon must be"),
        ({"alpha": -1}, "alpha must be a finite number, 0 or more; got -1"),
        ({"beta_1": 1}, "beta_1 must be"),
        ({"momentum": None}, "momentum must be"),
        ({"tol": None}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"max_fun": 0}, "max_fun must be"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be"),
        ({"hidden_layer_sizes": None}, "hidden_layer_sizes must be whole numbers, as 100"),
        ({"activation": None}, "activation must be one of"),
        ({"learning_rate": "bogus"}, "learning_rate must be one of"),
        ({"dtype": "f"}, "dtype must be one of"),
        ({"dropout": 1}, "dropout must be a finite number, 0 or more, below 1; got 1"),
        ({"dropout": (0.1,), "solver": "adam"}, "dropout must be one number, .* each of the 2 layers"),
        ({"adversarial": "x"}, "adversarial must be a finite number, 0 or more"),
        ({"solver": "bayesian", "adversarial": 0.1}, "adversarial is of the solvers"),
        ({"weight_decay": -1}, "weight_decay must be a finite number, 0 or more"),
        ({"clip": 0}, "clip must be a finite number, above 0"),
        ({"max_norm": "x"}, "max_norm must be a finite number, above 0"),
        ({"label_smoothing": 1}, "label_smoothing must be"),
        ({"label_smoothing": 0.1}, "label_smoothing goes with"),
        ({"delta": 0}, "delta must be"),
        ({"quantile": [0.1, 0.9]}, "quantile must be a finite number, above 0, below 1"),
        ({"activation": ["relu", "relu"], "solver": "adam"}, "one for each of the 1 hidden layers; got 2"),
        ({"activation": ["relu"]}, r"activation=\['relu'\] is for given layers: set hidden_layer_sizes, too"),
        ({"dropout": (0.1, 0.2)}, "dropout=.* is for given layers: set hidden_layer_sizes, too, or give one for all"),
        ({"solver": "lbfgs", "dropout": 0.5}, "dropout is of the solvers"),
    ],
    ids=str,
)
def test_parameters_are_refused_by_their_own_names(settings, message):
    model = Regressor(**settings)
    with pytest.raises(ValueError, match=message):
        model.fit(TINY, TINY[:, 0])
    assert not hasattr(model, "network_"), "nothing half-done is left"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(TINY, TINY[:, 0])


def test_the_loss_by_scikit_learns_name():
    assert (
        Regressor(solver="adam", loss="squared_error", max_iter=2, tol=0).fit(TINY, TINY[:, 0]).loss_name_
        == "half_squared_error"
    )


def worse(**how):
    """The warnings of a named fit of a bent line."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X @ [1.0, 2.0, -1.0] + 0.3 * np.abs(X[:, 0])
    how = {"solver": "adam", "random_state": 0, "max_iter": 30, **how}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Regressor(**how).fit(X, y)
    return " ".join(str(warning.message) for warning in caught if "epochs were run" not in str(warning.message))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"learning_rate_init": 1e-9}, "the network learned nothing: on its own rows .*, that of a constant answer 0.5"),
        ({"learning_rate_init": 30.0, "activation": "tanh", "standardize": False}, "the network learned nothing"),
        ({"learning_rate_init": 0.01, "max_iter": 300}, "the network is worse than a linear model: on its own rows"),
        ({"learning_rate_init": 0.01, "max_iter": 300, "tol": 0.0}, ""),
        ({"solver": "lbfgs"}, ""),
    ],
)  # fmt: skip
def test_a_named_solver_says_what_it_did_not_learn(how, message):
    said = worse(**how)
    assert re.search(message, said) if message else said == ""
    if message:
        assert "solver='auto'" in said
        assert ("standardize=True" in said) == ("standardize" in how)
        assert f"(it was {how['learning_rate_init']:g})" in said


def test_units_that_say_nothing_are_counted(rng):
    """Dead relus, and a tanh far beyond its bend: of a layer that has more of them than others."""
    X = rng.normal(size=(50, 2))
    net = chainrule.Network([2, 5, 4, 1], ["relu", "tanh"], "identity", seed=0)
    net.layers[0].bias[:3] = -50  # 0 for every row
    net.layers[1].bias[:2] = 50  # half of the layer: not more than others
    problem = Problem("half_squared_error", "identity", 1, {"delta": 1.0, "quantile": 0.5})
    y = net.predict(X)
    said = diagnosis.complaints(net, problem, X, y, None)
    assert said == ["3 of the 5 units of hidden layer 1 answer the same for every row: they are saturated, or 0"]
    net.layers[1].bias[2] = -50
    assert len(diagnosis.complaints(net, problem, X, net.predict(X), None)) == 2


@pytest.mark.parametrize("y", [TINY[:, 0], TINY[:, :1]], ids=["vector", "column"])
@pytest.mark.filterwarnings("ignore")
def test_too_few_columns_of_targets(y):
    both = TINY[:, :2]
    with pytest.raises(ValueError, match="y_val must have 2 columns"):
        Regressor(solver="adam", max_iter=2).fit(TINY, both, X_val=TINY, y_val=y)
    with pytest.raises(ValueError, match="y must have 2 columns, as the y that was learned from first; got 1"):
        Regressor(solver="adam", max_iter=2).partial_fit(TINY, both).partial_fit(TINY, y)
    with pytest.raises(ValueError, match="y must have 2 columns"):
        Regressor(solver="adam", max_iter=2, warm_start=True, tol=0).fit(TINY, both).fit(TINY, y)


def test_lbfgs_keeps_the_best_epoch():
    X, y = load_digits(return_X_y=True)
    model = Classifier(early_stopping=True, solver="lbfgs", max_iter=100, tol=0, random_state=0).fit(X[:300], y[:300])
    assert model.history_.best_epoch == int(np.argmin(model.validation_curve_)) + 1
    assert model.n_iter_ < 100
    assert model.history_.ending == "converged"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_layer_sizes": (7,)}, "hidden_layer_sizes is now"),
        ({"activation": "tanh"}, "activation is now 'tanh'"),
        ({"dtype": "float64"}, "dtype is now 'float64'"),
    ],
    ids=str,
)
def test_warm_start_with_another_network(changed, message):
    model = Regressor(solver="adam", max_iter=2, warm_start=True, tol=0).fit(TINY, TINY[:, 0])
    with pytest.raises(ValueError, match=message):
        model.set_params(**changed).fit(TINY, TINY[:, 0])


def test_warm_start_with_another_solver():
    model = Regressor(solver="adam", max_iter=2, warm_start=True, tol=0).fit(TINY, TINY[:, 0])
    assert model.set_params(solver="sgd").fit(TINY, TINY[:, 0]).n_iter_ == 4


def test_a_few_plain_rows_are_checked_once(monkeypatch):
    """scikit-learn's checks take longer than a step: they are of the first call alone."""
    X, y = np.arange(40.0).reshape(20, 2), np.arange(20.0)
    model = Regressor(solver="adam", random_state=0).partial_fit(X, y)
    monkeypatch.setattr("chainrule.contract.checked", None)
    model.partial_fit(X, y).predict(X)
    with pytest.raises(TypeError, match="not callable"):
        model.partial_fit(np.full((20, 2), np.nan), y)


def test_small_bytes_are_numbers():
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 2, (400, 6), dtype=np.uint8)
    model = Classifier(solver="adam", random_state=0).fit(flags, flags[:, 0])
    assert model.rows_.span is None
    assert model.score(flags, flags[:, 0]) == 1
    ages = rng.integers(0, 256, (400, 3), dtype=np.uint8)  # three columns are no image
    assert Classifier(solver="adam", max_iter=2, tol=0).fit(ages, ages[:, 0] > 99).rows_.span is None
    images = rng.integers(0, 256, (400, 65), dtype=np.uint8)
    assert Classifier(solver="adam", max_iter=2, tol=0).fit(images, images[:, 0] > 99).rows_.span == (0, 255)


def test_time_ends_a_named_solver_and_an_ensemble_is_of_auto():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 20))
    started = time.perf_counter()
    model = Regressor((200, 200), solver="adam", max_iter=100_000, tol=0, time_limit=0.3, random_state=0).fit(
        X, X[:, 0]
    )
    assert time.perf_counter() - started < 5
    assert 0 < model.n_iter_ < 100_000
    assert model.history_.ending == "stopped"
    for settings in ({"solver": "adam", "ensemble": 3}, {"ensemble": 1}, {"ensemble": 3, "warm_start": True}):
        with pytest.raises(ValueError, match=r"ensemble is of solver='auto', 2 or more: .* name a solver"):
            Regressor(**settings).fit(X, X[:, 0])


def test_missing_class_and_rows_of_unequal_length():
    with pytest.raises(ValueError, match="y must hold a class in each row; found None at row 1"):
        Classifier(solver="adam").fit(TINY[:3], np.array(["a", None, "b"], dtype=object))
    with pytest.raises(ValueError, match="X must hold rows of equal length; row 0 has 2 numbers, row 1 has 1"):
        Classifier(solver="adam").fit([[1.0, 2.0], [3.0]], [0, 1])


def test_early_stopping_with_classes_of_few_rows():
    with pytest.raises(ValueError, match="n_samples=3, too few to set any aside: one of each class must stay"):
        Classifier(solver="adam", early_stopping=True).fit(TINY[:3], [0, 1, 2])
    labels = [*range(5), *[7] * 15]
    model = Classifier(solver="adam", early_stopping=True, max_iter=3, tol=0, random_state=0).fit(TINY[:20], labels)
    assert len(model.validation_curve_) == 3


def test_few_plain_rows_take_the_short_way_to_the_same_answer():
    """What predict does not hand to scikit-learn's checks is answered alike; what is not plain still meets them."""
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 4)), rng.random(60)
    model = Regressor(solver="adam", hidden_layer_sizes=(5,), max_iter=3, tol=0).fit(X, y)
    whole = model.predict(np.tile(X, (50, 1)))[:60]  # too many rows for the short way
    for rows in (X, X.astype(np.float32).astype(np.float64), np.asfortranarray(X), X[::2]):
        assert model._plain(rows)
    np.testing.assert_array_equal(model.predict(X), whole)
    np.testing.assert_array_equal(model.predict(X[:1]), whole[:1])
    with pytest.raises(ValueError, match="found inf at row 0, column 0"):
        model.predict(np.full((1, 4), np.inf))
    with pytest.raises(ValueError, match="3 features"):
        model.predict(X[:, :3])
    with pytest.raises(ValueError, match=r"got shape \(4,\). Reshape your data"):
        model.predict(X[0])
    named = Regressor(solver="adam", hidden_layer_sizes=(5,), max_iter=3, tol=0).fit(
        pd.DataFrame(X, columns=list("abcd")), y
    )
    with pytest.warns(UserWarning, match="feature names"):
        named.predict(X)
