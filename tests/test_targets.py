"""Targets: bent where a tail is heavy, and within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import chainrule
from chainrule import Regressor
from chainrule.targets import Bend, Bends

FAST = {"random_state": 0, "n_threads": 2, "max_iter": 40}


@pytest.mark.parametrize("kind", ["log", "asinh"])
def test_bends_are_undone_exactly(kind, rng):
    l = np.exp(rng.normal(0, 2, 500)) if kind == "log" else rng.standard_cauchy(500)
    bend = Bend.learn(l, 0.0, kind)
    t = bend.apply(l)
    assert t.mean() == pytest.approx(0, abs=1e-12)
    assert t.std() == pytest.approx(1)
    np.testing.assert_allclose(bend.undo(t), l, rtol=1e-12)
    far, half = bend.apply(bend.undo(np.array([-1e9, 1e9]))), 0.5 * np.ptp(t)
    np.testing.assert_allclose(far, [t.min() - half, t.max() + half], rtol=1e-9)
    assert Bends.from_json(Bends((bend, Bend())).to_json()) == Bends((bend, Bend()))


def test_only_heavy_tails_are_bent(rng):
    for l in (rng.normal(size=2000), rng.random(2000), np.ones(50), np.repeat([0.0, 1.0], 30)):
        assert Bend.learn(l, -10.0).kind == ""
    assert Bend.learn(np.exp(2 * rng.normal(size=2000)), 0.0).kind == "log"
    assert Bend.learn(np.exp(2 * rng.normal(size=2000)) - 1, 0.0).kind == "asinh"
    assert Bend.learn(rng.standard_cauchy(2000), 0.0).kind == "asinh"
    assert Bend.learn(np.append(np.exp(2 * rng.normal(size=50)), np.nan), 0.0).kind == "log"


def heavy(rng, n=400):
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.exp(3 * X[:, 0] + 2 * np.sin(3 * X[:, 1]))


def test_auto_bends_where_it_is_better(rng, tmp_path):
    X, y = heavy(rng)
    model = Regressor(**FAST).fit(X[:300], y[:300])
    straight = Regressor(**FAST, target_transform=None).fit(X[:300], y[:300])
    errors = [np.abs(np.log(np.maximum(m.predict(X[300:]), 1e-3) / y[300:])).mean() for m in (model, straight)]
    assert "of log y" in model.summary()
    assert "of log y" not in straight.summary()
    assert errors[0] < 0.5 * errors[1]
    assert (model.predict(X[300:]) > 0).all()
    for name, kept in (("a", model), ("b", straight)):
        chainrule.save(kept, tmp_path / name)
        again = chainrule.load(tmp_path / name)
        assert again.target_transform == kept.target_transform
        np.testing.assert_array_equal(again.predict(X), kept.predict(X))
    # A heavy tail that is noise: the mean is asked for, and it is not that of the logarithm.
    noise = np.exp(1.5 * rng.normal(size=2000))
    with pytest.warns(ConvergenceWarning, match="no network found in X what y depends on"):
        told = Regressor(**FAST).fit(X[np.arange(2000) % 400], noise)
    assert told.predict(X).mean() == pytest.approx(noise.mean(), rel=0.15)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "adam"])
def test_the_user_states_how_y_is_bent(solver, rng):
    X, y = heavy(rng)
    how = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.01, "tol": 0.0}
    if solver == "auto":
        how = FAST
    model = Regressor(solver=solver, target_transform="log", activation="tanh", **how).fit(X[:300], y[:300])
    assert np.abs(np.log(model.predict(X[300:]) / y[300:])).mean() < 0.2
    assert str(model.bends_) == "log"
    two = Regressor(solver=solver, target_transform="asinh", activation="tanh", **how).fit(X, np.stack([y, -y], 1))
    np.testing.assert_allclose(two.predict(X).sum(axis=1), 0, atol=0.2 * np.abs(y).max())


@pytest.mark.parametrize("loss", ["half_squared_error", "huber", "quantile"])
@pytest.mark.parametrize("bounds", [(0, 1), (0, None), (None, 1), (-0.5, 2)], ids=str)
@pytest.mark.parametrize("solver", ["auto", "adam"])
def test_predictions_keep_within_bounds(solver, bounds, loss, rng, tmp_path):
    X = rng.uniform(-1, 1, (300, 2))
    y = np.clip(0.5 + X[:, 0] + 0.2 * rng.normal(size=300), 0, 1)
    how = (
        FAST
        if solver == "auto"
        else {"solver": "adam", "max_iter": 60, "learning_rate_init": 0.01, "random_state": 0, "tol": 0.0}
    )
    model = Regressor(bounds=bounds, loss=loss, **how).fit(X, y)
    low, high = (np.inf * sign if end is None else end for sign, end in zip((-1, 1), bounds, strict=True))
    far = model.predict(10 * rng.normal(size=(500, 2)))
    assert low <= far.min()
    assert far.max() <= high
    assert np.abs(model.predict(X) - np.clip(0.5 + X[:, 0], 0, 1)).mean() < 0.12
    chainrule.save(model, tmp_path / "bounded.chain")
    np.testing.assert_array_equal(chainrule.load(tmp_path / "bounded.chain").predict(X), model.predict(X))


@pytest.mark.filterwarnings("ignore:no network found in X|what was learned may well be")  # indeed: y is drawn at random
def test_a_quantile_below_an_upper_bound_is_that_quantile(rng):
    X, y = rng.random((600, 1)), rng.random(600)
    for bounds in ((None, 1), (0, None)):
        model = Regressor(bounds=bounds, loss="quantile", quantile=0.9, **FAST).fit(X, y)
        assert model.predict(X).mean() == pytest.approx(0.9, abs=0.06)


def test_what_is_positive_and_has_a_heavy_tail_is_learned_by_its_logarithm(rng):
    """As without the bound, and above it in any case."""
    X = rng.normal(size=(300, 3))
    y = np.exp(2 * (np.sin(X[:, 0]) + X[:, 1]) + 0.1 * rng.normal(size=300))
    how = {"random_state": 0, "ensemble": 2, "max_iter": 60}
    free = Regressor(**how).fit(X, y)
    assert "of log y" in free.summary()
    bound = Regressor(bounds=(0, None), **how).fit(X, y)
    np.testing.assert_array_equal(bound.predict(X), free.predict(X))
    lower = Regressor(bounds=(-5, None), target_transform="log", **how).fit(X, y - 5)
    assert lower.predict(10 * X).min() >= -5
    np.testing.assert_allclose(lower.predict(X), free.predict(X) - 5, rtol=0.02, atol=0.02 * y.std())
    named = Regressor(bounds=(0, None), target_transform="log", solver="adam", max_iter=400, tol=0, random_state=0)
    assert named.fit(X, y).predict(10 * X).min() >= 0
    y[0] = 0.0  # then it has no logarithm
    assert Regressor(bounds=(0, None), **how).fit(X, y).out_activation_ == "softplus"
    counts = Regressor(loss="poisson", bounds=(0, None), **how).fit(X, np.round(y))
    assert counts.predict(X).min() >= 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bounds": (1, 0)}, r"bounds must be a pair \(low, high\), low below high, None for an open end; got \(1, 0\)"),
        ({"bounds": 3}, "bounds must be a pair"),
        ({"bounds": (None, None)}, "bounds must be a pair"),
        ({"bounds": (0, "x")}, "bounds must be a pair"),
        ({"bounds": (0, 1.5)}, r"y must lie within bounds=\(0, 1.5\); found 2 at row 2"),
        ({"bounds": (0, None), "output": "tanh"}, "need output='softplus'; got loss='half_squared_error', output='tanh'"),
        ({"bounds": (0, None), "loss": "gaussian"}, r"bounds=\(0, None\) need output='softplus'; got loss='gaussian'"),
        ({"target_transform": "sqrt"}, "target_transform must be one of auto, log, asinh; got 'sqrt'"),
        ({"target_transform": "log"}, r"above 0 for target_transform='log'; found 0 at row 0, column 0. Use 'asinh'"),
        ({"target_transform": "log", "bounds": (0, 9), "least": 0.5}, "target_transform='log' goes with half_squared_error,"),
        ({"target_transform": "log", "loss": "gaussian", "least": 0.5}, "target_transform='log' goes with"),
        ({"target_transform": "log", "bounds": (0, None)}, "y must be above 0 for target_transform='log'; found 0 at row 0"),
    ],
)  # fmt: skip
def test_bad_targets(settings, message):
    given = dict(settings)
    y = [given.pop("least", 0.0), 1.0, 2.0]
    with pytest.raises(ValueError, match=message):
        Regressor(**given).fit([[0.0], [1.0], [2.0]], y)


# ---- what may only rise ------------------------------------------------------------------------------------------------


def rising(rng, n=400):
    """It rises with the first and falls with the second column, but for the noise; the third does as it likes."""
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.tanh(2 * X[:, 0]) - X[:, 1] + np.sin(4 * X[:, 2]) + 0.4 * rng.normal(size=n)


def steps_along(model, X, column):
    """How predictions change from place to place along a column, the others as they are."""
    rows = np.repeat(X[:40], 25, axis=0)
    rows[:, column] = np.tile(np.linspace(-3, 3, 25), 40)
    answers = model.predict_proba(rows)[:, 1] if hasattr(model, "predict_proba") else model.predict(rows)
    return np.diff(answers.reshape(40, 25), axis=1)


@pytest.mark.parametrize("solver", ["auto", "adam"])
def test_predictions_rise_and_fall_as_they_must(solver, rng, tmp_path):
    X, y = rising(rng)
    named = {"solver": "adam", "activation": "tanh", "max_iter": 800, "random_state": 0, "tol": 0.0, "batch_size": 20}
    how = FAST if solver == "auto" else named
    model = Regressor(monotonic_cst=[1, -1, 0], **how).fit(X, y)
    for kept in (model, Regressor(monotonic_cst={0: 1, 1: -1}, bounds=(None, 9), **how).fit(X, y)):
        assert steps_along(kept, X, 0).min() >= -1e-6
        assert steps_along(kept, X, 1).max() <= 1e-6
        assert steps_along(kept, X, 2).min() < -0.05 < 0.05 < steps_along(kept, X, 2).max()
        assert kept.score(X, y) > 0.75
    assert steps_along(Regressor(**how).fit(X, y), X, 0).min() < -1e-3, "without, noise is learned too"
    chainrule.save(model, tmp_path / "rising.chain")
    assert list(chainrule.load(tmp_path / "rising.chain").monotonic_cst) == [1, -1, 0]


def test_probabilities_and_bent_targets_rise_as_they_must(rng):
    X, y = rising(rng)
    X[::7, 0] = np.nan  # where it is missing, the others still rule
    model = chainrule.Classifier(monotonic_cst=[1, -1, 0], **FAST).fit(X, np.where(y > 0, "yes", "no"))
    known = X[~np.isnan(X[:, 0])]
    assert steps_along(model, known, 0).min() >= -1e-6
    assert steps_along(model, known, 1).max() <= 1e-6
    bent = Regressor(monotonic_cst=[1, -1, 0], target_transform="log", **FAST).fit(X, np.exp(2 * y))
    assert steps_along(bent, known, 0).min() >= -1e-6 * np.exp(2 * y).max()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 0], "monotonic_cst must have a number for each of the 3 columns of X; got 2"),
        ([1, 0, 2], "monotonic_cst must be a whole number of -1 to 1; got 2"),
        ({"size": 1}, "monotonic_cst names 'size'; the columns are 0, 1, 2"),
    ],
)
def test_bad_signs(given, message, rng):
    with pytest.raises(ValueError, match=message):
        Regressor(monotonic_cst=given).fit(*rising(rng, 30))


def test_what_cannot_rise(rng):
    X, y = rising(rng, 60)
    words = [[*row, "ab"[i % 2]] for i, row in enumerate(X.tolist())]
    with pytest.raises(ValueError, match=r"monotonic_cst: column .*3.* is a category; only numbers can rise"):
        Regressor(monotonic_cst={3: 1}, **FAST).fit(words, y)
    with pytest.raises(ValueError, match="monotonic_cst is of regressions and of two classes"):
        chainrule.Classifier(monotonic_cst=[1, 0, 0]).fit(X, np.arange(60) % 3)
    with pytest.raises(ValueError, match="monotonic_cst is of the solvers that step batch by batch"):
        Regressor(monotonic_cst=[1, 0, 0], solver="lbfgs").fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of four labels little is learned
@pytest.mark.parametrize("bounds", [(0, None), (0, 10)])
def test_a_bounded_column_of_few_labels(bounds, rng):
    """Where a part of the rows has no label of a column at all, its first bias is still a number."""
    X = rng.normal(size=(40, 2))
    y = np.column_stack([np.exp(X[:, 0]).clip(0, 9), np.full(40, np.nan)])
    y[[3, 17, 18, 30], 1] = [1.0, 2.0, 3.0, 4.0]
    answers = Regressor(**{**FAST, "max_iter": 10}, bounds=bounds, ensemble=2).fit(X, y).predict(X)
    assert np.isfinite(answers).all()
    y[[3, 17, 18], 1] = np.nan
    assert np.isfinite(Regressor(**{**FAST, "max_iter": 10}, bounds=bounds).fit(X, y).predict(X)).all()
