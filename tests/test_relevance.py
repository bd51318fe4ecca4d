"""Which columns say most, and networks that are given those alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import chainrule
from chainrule import Classifier, Network, Regressor
from chainrule.auto import planning, relevance, task
from chainrule.auto.recipes import Recipe, by_batches
from chainrule.auto.relevance import SHUFFLED, Relevance, how_few, rises_of, taken_one_by_one
from chainrule.auto.trainer import Trainer
from chainrule.auto.trials import Fold
from chainrule.generator import permutation
from chainrule.inputs import Form, Inputs
from chainrule.problem import Problem
from chainrule.tables import read_table
from chainrule.training import begin_embedding

PROBLEM = Problem("half_squared_error", "identity", 1, {"delta": 1.0, "quantile": 0.5})


def wide(n, d=40, seed=0):
    """Friedman's function of five columns; the others say nothing."""
    rng = np.random.default_rng(seed)
    X = rng.random((n, d))
    f = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return X, f + rng.standard_normal(n)


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def test_few_columns_of_many(tmp_path):
    X, y = wide(240)
    X_other, y_other = wide(2000, seed=1)
    model = Regressor(random_state=0, n_threads=1).fit(X, y)
    # The noise is 1; by all columns it is 1.8, which other networks of as many rows do not reach either.
    assert rmse(model, X_other, y_other) < 1.25
    chosen = max(model.choice_, key=lambda choice: choice["share"])
    assert set(chosen["columns"][:5]) == {"x0", "x1", "x2", "x3", "x4"}  # those that say most first
    assert len(chosen["columns"]) < 10
    assert f"on {len(chosen['columns'])} columns" in chosen["recipe"]
    assert "columns x3, " in model.summary()
    assert all(len(member.form.columns) < 10 for member in model.ensemble_.members)

    file = tmp_path / "few.chainrule"
    chainrule.save(model, file)
    held = chainrule.load(file)
    assert np.array_equal(held.predict(X_other), model.predict(X_other))
    assert held.summary() == model.summary()
    again = Regressor(random_state=0, n_threads=2).fit(X, y)
    assert np.array_equal(again.predict(X_other), model.predict(X_other))
    held.partial_fit(X, y)  # goes on with the columns that it has


def test_each_fold_has_columns_of_its_own(monkeypatch):
    """What is judged by rows set aside is not to have been chosen by them."""
    X, y = wide(200)
    held = []
    fit_member = Trainer.fit_member

    def noted(self, recipe, fold, number, threads=1):
        made = fit_member(self, recipe, fold, number, threads)
        if recipe.few:
            held.append((fold, made.form.columns, self.relevance.largest(fold, len(made.form.columns))))
        return made

    monkeypatch.setattr(Trainer, "fit_member", noted)
    asked = []
    monkeypatch.setattr(
        relevance,
        "rises_of",
        lambda net, rows, groups, l, *rest: asked.append(l) or rises_of(net, rows, groups, l, *rest),
    )
    folds = []
    make_folds = task.make_folds
    monkeypatch.setattr(task, "make_folds", lambda *given: folds.extend(make_folds(*given)) or folds)
    monkeypatch.setattr(planning, "choose_columns", asking_for(12))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after three epochs little has been learned
        model = Regressor(random_state=0, n_threads=1, max_iter=3).fit(X, y)
    seen = [{round(float(l), 6) for l in labels[:, 0]} for labels in asked]
    others = [{round(float(l), 6) for l in model._labels(y)[fold.aside, 0]} for fold in folds]
    assert all(any(not labels & own for own in others) for labels in seen)
    assert len({fold for fold, _, _ in held}) > 1
    assert all(columns == largest for _, columns, largest in held)
    assert len({columns for _, columns, _ in held}) > 1


def asking_for(count):
    choose = planning.choose_columns

    def choose_columns(trainer, fold):
        choose(trainer, fold)
        return [trainer.relevance.largest(fold, count)]

    return choose_columns


def test_all_columns_where_all_say_something(rng):
    X = rng.normal(size=(400, 20))
    y = X @ rng.normal(size=20) + 0.3 * rng.normal(size=400)
    model = Regressor(random_state=0).fit(X, y)
    assert not any("columns" in choice for choice in model.choice_ if choice["share"] > 0)


def test_classes_by_few_columns():
    rng = np.random.default_rng(0)
    X, X_other = rng.normal(size=(400, 50)), rng.normal(size=(4000, 50))
    y, y_other = (Z[:, 3] * Z[:, 7] + Z[:, 9] > 0.2 for Z in (X, X_other))
    model = Classifier(random_state=0).fit(X, y)
    p = model.predict_proba(X_other)[:, 1]
    assert -np.log(np.where(y_other, p, 1 - p)).mean() < 0.3  # 0.6 by all
    used = [set(choice.get("columns", [])) for choice in model.choice_ if choice["share"] > 0]
    assert all({"x3", "x7", "x9"} <= columns for columns in used)


@pytest.mark.parametrize(("known", "loss"), [(Regressor, "huber"), (Classifier, "cross_entropy")])
def test_columns_are_looked_at_by_networks_without_hidden_units(known, loss, rng):
    X = rng.normal(size=(300, 30))
    y = X[:, 3] + 0.1 * rng.normal(size=300)
    y = y if known is Regressor else y > 0
    assert known(hidden_layer_sizes=(), loss=loss, random_state=0).fit(X, y).score(X, y) > 0.95


@pytest.mark.parametrize("units", [0, 2])
def test_relevance_is_what_a_shuffled_column_costs(units, rng):
    X = rng.normal(size=(300, 4))
    table, columns = read_table(X, "X")
    inputs = Inputs.learn(columns, table, "robust")
    form = Form(8, 4, units) if units else Form()
    E, groups = inputs.encode(table, form), inputs.groups(form)
    hidden = (2 * 4, 16) if units else (16,)
    net = Network(
        [E.shape[1], *hidden, 1], activation=("identity",) * bool(units) + ("silu",), output="identity", seed=1
    )
    if units:
        begin_embedding(net, groups)
    l = net.predict(E) + 0.0
    net.layers[0].weights[:, np.array(groups) == 2] = 0  # the third column says nothing
    rises = rises_of(net, E, groups, l, PROBLEM, seed=3)
    assert rises.shape == (4,)
    assert rises[2] == 0
    assert (rises[[0, 1, 3]] > 0.001).all()
    shuffled = E.copy()
    own = np.array(groups) == 1
    shuffled[:, own] = E[permutation(3, SHUFFLED, len(E))][:, own]
    costs = [((net.predict(Z) - l) ** 2).mean() / 2 for Z in (shuffled, E)]
    assert rises[1] == pytest.approx(costs[0] - costs[1], rel=1e-4)


def test_those_that_say_most():
    said, fold = Relevance(), Fold(np.arange(2), np.arange(1))
    said.rises[fold] = np.array([0.1, 0.1, 5.0, 1.0, 3.0])
    assert said.largest(fold, 3) == (2, 3, 4)
    assert said.given(Recipe("adamw", (5,), "tanh", few=2), fold).form.columns == (2, 4)


def test_how_few():
    clear = np.array([5.0, 3.0, 1.0] + [0.001] * 20)
    assert how_few(clear, 3) == ([3], 0)
    assert how_few(clear, 2) == ([2, 3], 2)
    assert how_few(clear, 20) == how_few(clear, 0) == ([3], 0)
    # Much that says a little: a hundredth of the most, or three times the middle.
    assert how_few(np.array([1.0] * 2 + [0.04] * 4 + [0.011] * 6 + [0.005] * 12), 0)[0] == [6, 12]
    assert how_few(np.ones(20), 0)[0] == []
    assert how_few(-np.ones(20), 0)[0] == []


def test_forms_of_few_columns_are_held_and_checked(rng):
    table, columns = read_table(rng.normal(size=(50, 6)), "X")
    inputs = Inputs.learn(columns, table, "robust")
    whole = inputs.encode(table, Form(8, 4))
    few = Form(8, 4, columns=(1, 4))
    groups = np.array(inputs.groups(Form(8, 4)))
    assert np.array_equal(inputs.encode(table, few), whole[:, np.isin(groups, [1, 4])])
    assert inputs.groups(few) == [g for g, k in enumerate((1, 4)) for _ in range((groups == k).sum())]
    assert inputs.width(few) == (np.isin(groups, [1, 4])).sum()
    assert np.array_equal(inputs.encode(table, Form(columns=(5,))), inputs.encode(table)[:, 5:])
    assert Form.from_json({"bins": 8, "waves": 4, "embedding": 0, "columns": [1, 4]}) == few
    for odd in ([4, 1], [1, 1], [-1, 2]):
        with pytest.raises(ValueError, match="ascend"):
            Form.from_json({"columns": odd})


def test_recipes_of_few_columns_are_as_rich_as_these_allow(rng):
    table, columns = read_table(rng.normal(size=(500, 120)), "X")
    inputs = Inputs.learn(columns, table, "robust")
    [whole], [few] = (by_batches(500, inputs, PROBLEM, {}, given) for given in ((), (3, 5, 9, 20)))
    assert (whole.form, whole.few) == (Form(8, 4, 2), 0)
    assert (few.form, few.few) == (Form(32, 16, 8), 4)
    assert f"{few}" == "silu 96-96 on 32 bins and 16 waves of 4 columns by adamw"


def test_what_lies_hidden_behind_larger_effects():
    """A straight line in three of very many columns, and few rows: where least squares with a penalty is at its best."""
    rng = np.random.default_rng(0)
    X, X_other = rng.normal(size=(80, 300)), rng.normal(size=(1000, 300))
    y = 3 * X[:, 0] + X[:, 1] - 2 * X[:, 2] + 0.5 * rng.normal(size=80)
    model = Regressor(random_state=0).fit(X, y)
    error = model.predict(X_other) - (3 * X_other[:, 0] + X_other[:, 1] - 2 * X_other[:, 2])
    assert np.sqrt(np.mean(error**2)) < 0.3  # 2 by networks of all columns, 0.4 by the lasso
    assert any("linear on 3 columns by bayesian" in choice["recipe"] for choice in model.choice_)


def test_columns_are_taken_one_by_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 50))
    groups = [k // 2 for k in range(50)]  # two inputs a column
    y = np.column_stack([X[:, 6] - X[:, 20] + 5, 2 * X[:, 20] + 0.5 * X[:, 33]])
    taken = taken_one_by_one(X, groups, y + 0.1 * rng.normal(size=y.shape), None)
    assert taken == [10, 3, 16]
    assert taken_one_by_one(X.astype(np.float32), groups, y, None, 2)[:3] == taken
    assert taken_one_by_one(X, groups, rng.normal(size=(200, 1)), None) == []
    assert taken_one_by_one(np.ones((200, 3)), [0, 1, 2], y, None) == []
    spoilt, weight = np.vstack([y, 100 * X[:, :2]]), np.repeat([1.0, 0.0], 200)
    assert taken_one_by_one(np.vstack([X, X]), groups, spoilt, weight)[:3] == taken
    assert taken_one_by_one(X, groups, y, np.zeros(200)) == []
    y[::3, 0] = np.nan
    assert set(taken_one_by_one(X, groups, y, None)[:3]) == set(taken)
