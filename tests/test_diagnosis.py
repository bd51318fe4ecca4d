"""Never silently wrong: what is said where nothing, or something else, was learned, and what is tried instead."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from chainrule import Classifier, Regressor
from chainrule.auto.learner import Learner
from chainrule.auto.recipes import Recipe
from chainrule.auto.task import Task
from chainrule.auto.trainer import Trainer
from chainrule.auto.trials import Trial
from chainrule.data import DataError
from chainrule.diagnosis import _about_rows
from chainrule.ensemble import Pool
from chainrule.problem import Problem
from conftest import recipes_used


@pytest.mark.parametrize("output", ["tanh", "relu", "silu"])
def test_a_column_of_which_nothing_is_learned_is_near_its_mean(output, rng):
    """Whatever the output: what no constant makes is left as it was learned."""
    X = rng.normal(size=(200, 2))
    Y = np.column_stack([np.tanh(X[:, 0]), 0.3 + 0.1 * rng.normal(size=200)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Regressor(output=output, random_state=0, ensemble=2, max_iter=40).fit(X, Y)
    assert model.predict(X)[:, 1].mean() == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("slips", "named"), [(1, "row 7 of"), (5, "rows 7, 8, 9, 10, 11 of"), (9, "9, 10, 11, ... of")]
)
def test_rows_that_decide_all_are_named(slips, named, rng):
    labels = rng.normal(size=(1000, 1))
    problem = Problem("half_squared_error", "identity", 1, {})
    assert "correct row" not in _about_rows(problem, labels)
    labels[7 : 7 + slips] = 1e5 * (-1) ** np.arange(slips)[:, None]
    assert named in _about_rows(problem, labels)
    labels[7:30] = 1e5  # too many to be slips
    assert "correct row" not in _about_rows(problem, labels)


def test_dates_are_no_targets(rng):
    with pytest.raises(DataError, match=r"^y must hold numbers; found dates or times, datetime64.* Count them from"):
        Regressor().fit(rng.normal(size=(20, 2)), pd.Series(pd.date_range("2020", "2023", 20)))


def test_one_row_that_decides_all_is_named():
    r = np.random.default_rng(0)
    X = r.normal(size=(150, 3))
    clean = X[:, 0] + X[:, 1] ** 2 + 0.1 * r.normal(size=150)
    y = np.where(np.arange(150) == 7, 1e5, clean)
    with pytest.warns(ConvergenceWarning, match=r"orrect row 7 of y or leave it out: .*; or choose loss='huber'"):
        Regressor(random_state=0, max_iter=20, ensemble=2).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Regressor(random_state=0, loss="huber", activation="tanh", hidden_layer_sizes=20).fit(X, y)
    error = np.abs(model.predict(X) - clean)[np.arange(150) != 7]
    assert np.sqrt(np.mean(error**2)) < 0.3


def test_what_was_stated_is_to_be_checked():
    X = np.random.default_rng(0).normal(size=(200, 3))
    settings = {"random_state": 0, "max_iter": 10, "ensemble": 2}
    with pytest.warns(
        ConvergenceWarning, match=r"Leave max_iter to auto, or see whether monotonic_cst hold of the data"
    ):
        Regressor(monotonic_cst=[-1, 0, 0], **settings).fit(X, 3 * X[:, 0])


def test_gross_errors_are_named():
    """Where what is answered is far from them; neither noise nor a function of large values is one."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (300, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=300)
    model = Regressor(random_state=0, ensemble=2, max_iter=40)
    spoilt = y.copy()
    spoilt[[7, 70, 170]] += [30, -40, 25]
    with pytest.warns(ConvergenceWarning, match=r"rows 7, 70, 170 of y are far .* choose loss='huber'"):
        model.fit(X, spoilt)
    spoilt = y.copy()
    spoilt[9] = 60
    with pytest.warns(ConvergenceWarning, match="row 9 of y is far from all others, .* and counts for more"):
        model.fit(X, spoilt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, np.exp(3 * X[:, 0]) * (1 + X[:, 1] ** 2))


def test_noise_is_said_to_be_noise():
    """Also where the best of several networks is a little better than a constant, by chance."""
    for seed, said in ((100, "no network found"), (101, "may well be chance"), (107, "may well be chance")):
        rng = np.random.default_rng(seed)
        with pytest.warns(ConvergenceWarning, match=said):
            Regressor(random_state=seed).fit(rng.normal(size=(60, 3)), rng.normal(size=60))


def test_a_class_that_is_not_there_costs_a_constant_little():
    """As one of many classes that is in none of the rows that are learned from: else whatever is learned seems much."""
    l = np.eye(40)[np.arange(60) % 20]
    z = Problem("cross_entropy", "softmax", 40, {}).constant(l, None)
    P = Pool("softmax").close(z)
    np.testing.assert_allclose(P[0, [0, 39]], [3.5 / 80, 0.5 / 80])


@pytest.mark.parametrize("known", [Regressor, Classifier])
def test_what_depends_on_nothing_is_said(known, rng):
    X, y = rng.normal(size=(300, 4)), rng.normal(size=300)
    with pytest.warns(ConvergenceWarning, match="no network found in X what y depends on: .* look whether the rows"):
        model = known(random_state=0, max_iter=10).fit(X, y if known is Regressor else (y > 0).astype(int))
    if known is Regressor:
        assert np.std(model.predict(X)) < 0.1, "it answers nearly a constant"
    else:
        assert "a constant answer" in recipes_used(model, 0.01)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # there is nothing to be learned
@pytest.mark.parametrize(
    ("how", "constant"),
    [
        ({}, np.mean),
        ({"bounds": (0, None)}, np.mean),
        ({"bounds": (0, 40)}, np.mean),
        ({"loss": "poisson"}, np.mean),
        ({"loss": "quantile", "quantile": 0.9}, lambda y: np.quantile(y, 0.9)),
        ({"loss": "gaussian"}, np.mean),
        ({"loss": "huber"}, np.median),
    ],
    ids=str,
)
def test_a_constant_is_answered_where_no_network_does_better(how, constant, rng, monkeypatch):
    """Of noise, whatever the output; the networks here are made to learn by heart."""
    X, y = rng.normal(size=(60, 5)), rng.gamma(3.0, size=60)
    monkeypatch.setattr("chainrule.auto.learner.others", lambda *_: [])
    monkeypatch.setattr("chainrule.auto.planning.by_evidence", lambda *_: [])
    monkeypatch.setattr("chainrule.auto.learner.linear", lambda *_: Recipe("adamw", (64,), "relu", weight_decay=0.0))
    model = Regressor(random_state=0, **how).fit(X, y)
    share = model.choice_[-1]["share"]
    assert model.choice_[-1]["recipe"] == "a constant answer"
    assert share > 0.3
    answers = model.predict(rng.normal(size=(500, 5)))
    assert abs(np.mean(answers) - constant(y)) < 0.15 * y.std() + 1.5 * (1 - share) * y.std()
    assert np.std(answers) < y.std()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_column_that_is_answered_worse_than_by_a_constant_is_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    Y = np.stack([np.sin(2 * X[:, 0]) * X[:, 1], rng.normal(size=200)], axis=1)
    model = Regressor(random_state=0, n_threads=2, ensemble=2, max_iter=60, hidden_layer_sizes=(64,)).fit(X, Y)
    Z = model.predict(X)
    assert np.ptp(Z[:, 1]) == 0
    assert Z[0, 1] == pytest.approx(Y[:, 1].mean(), abs=1e-6)
    assert np.corrcoef(Z[:, 0], Y[:, 0])[0, 1] > 0.85


def test_a_column_of_which_nothing_is_learned_is_said():
    """Where there are several, the others' gain does not hide it. (Of other draws noise seems learned by chance.)"""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 3))
    Y = np.stack([X[:, 0], rng.normal(size=200)], axis=1)
    how = {"random_state": 0, "n_threads": 2, "ensemble": 2, "max_iter": 30}
    with pytest.warns(ConvergenceWarning, match="in X what column 1 of y, of which 200 rows are known, depends on"):
        Regressor(**how).fit(X, Y)
    Y[:, 1] = np.where(np.arange(200) < 3, X[:, 1], np.nan)
    with pytest.warns(ConvergenceWarning, match="column 1 of y is known in 3 of 200 rows: too few to learn it from"):
        Regressor(**how).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="in X what column 0 of y, of which 200 rows are known, depends on"):
        Classifier(**how).fit(X, np.stack([rng.integers(0, 2, 200), X[:, 0] > 0], axis=1).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Regressor(**how).fit(X, np.stack([X[:, 0], X[:, 1], np.full(200, 3.0)], axis=1))


def test_losses_that_are_no_numbers_are_said(rng, monkeypatch):
    monkeypatch.setattr(Task, "loss_of", lambda self, folds, answers, column=None: np.nan)
    X = rng.normal(size=(40, 2))
    with pytest.raises(FloatingPointError, match=r"anything finite\. Leave max_iter to auto, or look for"):
        Regressor(random_state=0, ensemble=2, max_iter=2).fit(X, X[:, 0])


def test_saturated_networks_are_tried_again_with_smaller_steps_and_said(rng, monkeypatch):
    """The first layer's relus are all put far below 0, as too large a step does it; what is settled of the steps stays."""
    X = rng.normal(size=(300, 2))
    y = np.abs(X[:, 0])
    fit_member = Trainer.fit_member
    rates = []

    def dying(self, recipe, fold, number, threads=1):
        made = fit_member(self, recipe, fold, number, threads)
        if recipe.solver == "adamw" and recipe.hidden:
            rates.append(recipe.learning_rate)
            if recipe.learning_rate > 0.005:
                made.network.layers[0].bias[:] = -1000
        return made

    monkeypatch.setattr(Trainer, "fit_member", dying)
    how = {"activation": "relu", "random_state": 0, "n_threads": 1, "ensemble": 2, "max_iter": 30}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Regressor(**how).fit(X, y)
    assert min(rates) == pytest.approx(max(rates) / 10)
    monkeypatch.undo()
    with pytest.warns(
        ConvergenceWarning, match="of the 96 units of hidden layer . answer the same .* Leave activation"
    ):
        Regressor(learning_rate_init=3.0, **how | {"activation": "tanh"}).fit(X, y)


def test_idle_units_beside_others_that_do_the_work_are_not_said(rng, monkeypatch):
    """Of absolute errors many units of a last layer die; the answers are good, and nobody has settled anything."""
    X = rng.normal(size=(200, 2))
    fit_member = Trainer.fit_member

    def dying(self, recipe, fold, number, threads=1):
        made = fit_member(self, recipe, fold, number, threads)
        if recipe.solver == "adamw" and recipe.hidden:
            made.network.layers[-2].bias[:100] = -1000
        return made

    monkeypatch.setattr(Trainer, "fit_member", dying)
    monkeypatch.setattr(
        Trial, "settle", lambda self, loss_of: self.answers.extend(m.checks[-1].answers for m in self.made)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Regressor(random_state=0, ensemble=2, loss="huber").fit(X, np.abs(X[:, 0]))
    with pytest.warns(
        ConvergenceWarning, match="units of hidden layer 3 .* Leave max_iter to auto, or look for outliers"
    ):
        Regressor(random_state=0, ensemble=2, loss="huber", max_iter=50).fit(X, np.abs(X[:, 0]))


def test_networks_worse_than_a_linear_model_are_said(rng):
    """One unit, held back, which the user has settled, fails where a straight line is enough."""
    X = rng.normal(size=(200, 3))
    y = X @ [1.0, 2.0, -1.0]
    with pytest.warns(
        ConvergenceWarning, match="the networks are worse than a linear model: .* Leave hidden_layer_sizes"
    ):
        Regressor(activation="sigmoid", hidden_layer_sizes=1, alpha=0.5, random_state=0, max_iter=60).fit(X, y)
    model = Regressor(random_state=0).fit(X[:40], y[:40])  # of itself it finds the line
    assert np.median(np.abs(model.predict(X) - y)) < 1e-3


@pytest.mark.parametrize(
    "settled", [{"learning_rate_init": 1e-5}, {"alpha": 100.0}, {"weight_decay": 50.0}, {"learning_rate": "invscaling"}]
)
def test_the_linear_model_is_not_held_back_by_what_is_settled(settled, rng):
    X = rng.normal(size=(100, 3))
    with pytest.warns(ConvergenceWarning, match=f"worse than a linear model: .* Leave {next(iter(settled))} to auto"):
        Regressor(random_state=0, ensemble=2, **settled).fit(X, X[:, 0] + 0.1 * rng.normal(size=100))


def test_what_is_settled_is_to_blame_first(rng):
    X = rng.normal(size=(300, 2))
    with pytest.warns(ConvergenceWarning, match="Leave learning_rate_init, max_iter to auto, or look whether the rows"):
        Regressor(random_state=0, max_iter=1, learning_rate_init=1e-9, ensemble=2).fit(X, rng.normal(size=300))
    with pytest.warns(UserWarning, match="^early_stopping, beta_1: not looked at by solver='auto'.* name a solver"):
        Regressor(random_state=0, max_iter=5, ensemble=2, early_stopping=True, beta_1=0.8).fit(X, X[:, 0])


@pytest.mark.parametrize("what", ["y", "each column of X"])
def test_nothing_to_learn_is_said(what, rng):
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    X, y = (X, np.full(40, 3.0)) if what == "y" else (np.ones((40, 2)), y)
    with pytest.warns(ConvergenceWarning, match=f"^{what} is the same in every row") as said:
        model = Regressor(random_state=0, ensemble=2, max_iter=5).fit(X, y)
    assert len(said) == 1
    assert np.ptp(model.predict(X)) == 0
    if what == "y":
        np.testing.assert_allclose(model.predict(rng.normal(size=(9, 2))), 3)


def test_other_settings_are_tried_where_nothing_was_learned(rng, monkeypatch):
    tried = []
    cross_fit = Learner.cross_fit

    def listen(self, plan, folds):
        tried.append(plan.recipes)
        return cross_fit(self, plan, folds)

    monkeypatch.setattr(Learner, "cross_fit", listen)
    X, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    with pytest.warns(ConvergenceWarning, match="no network found"):
        Regressor(random_state=0, max_iter=10, learning_rate_init=0.02).fit(X, y)
    assert len(tried) == 3
    assert tried[0][-1].hidden == ()  # a linear model as all else is settled
    (bar,), (other,) = tried[1:]
    assert (bar.hidden, bar.solver) == ((), "bayesian"), "what all are compared with is not"
    assert (other.hidden, other.activation, other.learning_rate) == ((32,), "tanh", 0.02)
    tried.clear()
    Regressor(random_state=0, max_iter=10).fit(X, X[:, 0] + np.sin(3 * X[:, 1]))
    assert [recipe.hidden for recipes in tried[1:] for recipe in recipes] == [()], "but the linear model"
