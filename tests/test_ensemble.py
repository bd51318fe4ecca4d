"""What the estimators choose for themselves: recipes, folds, shares; that it is seen, honoured and repeatable."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

import chainrule
from chainrule import Classifier, Network, Regressor
from chainrule.data import DataError
from chainrule.diagnosis import _about_rows
from chainrule.ensemble import Ensemble, Member, Pool
from chainrule.evidence import Evidence
from chainrule.functions import activate
from chainrule.inputs import Form, Inputs
from chainrule.jobs import Pace, Queue
from chainrule.learner import LONG, SHARED, Learner, originals
from chainrule.recipes import (
    BINNED,
    ENCODED,
    FINE,
    WIDTHS,
    Problem,
    Recipe,
    by_batches,
    by_evidence,
    names_apart,
    quantile,
)
from chainrule.tables import read_table
from chainrule.training import History, train
from chainrule.trials import Check, Fold, Made, Trial, choose_shares, make_folds, mean_loss


def smooth(n=150, seed=0):
    """A function without noise, such as a simulation's."""
    X = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
    return X, np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2


def stepped(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 20, (n, 2)).astype(float)
    return X, (X[:, 0] > 3) * 2.0 + (X[:, 1] % 2) + 0.1 * rng.normal(size=n)


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def recipes(model, least=0.5):
    return [c["recipe"] for c in model.choice_ if c["share"] >= least]


def test_smooth_functions_are_learned_by_evidence():
    model = Regressor(random_state=0).fit(*smooth())
    assert rmse(model, *smooth(seed=1)) < 0.005
    assert "bayesian" in recipes(model)[0]
    assert "bayesian" in model.summary()


def test_steps_are_learned_on_bins():
    model = Regressor(random_state=0).fit(*stepped())
    assert rmse(model, *stepped(seed=1)) < 0.2
    assert "bins" in recipes(model)[0]


def test_no_worse_than_a_line_where_it_is_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 8))
    true = rng.normal(size=8)
    y = X @ true + rng.normal(size=120)
    new = rng.normal(size=(500, 8))
    clean = new @ true
    model = Regressor(random_state=0).fit(X, y)
    line = LinearRegression().fit(X, y)
    assert np.mean((model.predict(new) - clean) ** 2) < np.mean((line.predict(new) - clean) ** 2) + 0.1


def test_folds_hold_each_row_once():
    for classes in (None, np.repeat([0, 1, 2], [5, 20, 35])):
        folds = make_folds(np.arange(60), 5, 3, classes)
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.aside for fold in folds])), np.arange(60))
        for fold in folds:
            assert not set(fold.kept) & set(fold.aside)
            assert len(fold.kept) + len(fold.aside) == 60
            if classes is not None:
                assert np.bincount(classes[fold.aside]).tolist() == [1, 4, 7]


def test_equal_rows_are_set_aside_together(rng):
    first = rng.integers(0, 12, 60)
    first[:12] = np.arange(12)
    folds = make_folds(first, 5, 3, np.arange(60) % 2)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.aside for fold in folds])), np.arange(60))
    for fold in folds:
        assert not set(first[fold.kept]) & set(first[fold.aside])
    assert len(make_folds(np.repeat([0, 3], [3, 3]), 5, 0)) == 2
    assert [len(fold.aside) for fold in make_folds(np.zeros(6, dtype=int), 3, 0)] == [2, 2, 2]


def test_what_are_copies(rng):
    """Where few rows are equal, they are as they come; a class may be repeated alone."""
    X, y = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    few, most = np.r_[0:50, 0:10], np.r_[0:50, 0:40]
    assert originals(X[few], y[few], None).tolist() == list(range(60))
    assert originals(X[most], y[most], None).tolist() == most.tolist()
    assert originals(X[most], rng.normal(size=(90, 1)), None).tolist() == list(range(90)), "measured again"
    rare = np.repeat([0, 1], [45, 5])
    some = np.r_[0:50, 45:50, 45:50, 0:5]
    found = originals(X[some], np.eye(2)[rare[some]], rare[some])
    assert found.tolist() == [*some[:60], *range(60, 65)]


def test_ensemble_of_two_is_judged_by_all_rows():
    X, y = stepped(200)
    model = Regressor(ensemble=2, random_state=0).fit(X, y)
    assert all(choice["networks"] == 2 for choice in model.choice_ if choice["share"])


def test_answers_are_compared_part_by_part():
    """In whatever order the networks of a recipe came to be."""
    folds = [Fold(np.delete(np.arange(6), [2 * k, 2 * k + 1]), np.array([2 * k, 2 * k + 1])) for k in range(3)]
    problem = Problem("half_squared_error", "identity", 1, {})
    learner = Learner(problem, None, np.zeros((6, 1)), np.arange(6.0)[:, None], None, 0, 1)

    def trial(order, slip):
        made = [
            Made(Network([1, 1]), History(), [Check(1, np.zeros(2), learner.labels[folds[k].aside] + slip)])
            for k in order
        ]
        found = Trial(Recipe("adamw", (), "identity", epochs=1 + len(order)), [folds[k] for k in order], made)
        found.sort(folds)
        found.settle(learner.loss_of)
        return found

    right, wrong = trial([2, 0, 1], 0.0), trial([0, 1, 2], 1.0)
    choice = choose_shares([right, wrong], learner.loss_of, Pool())
    assert right.folds == folds
    assert (right.share, choice.loss) == (1.0, 0.0)


def test_many_rows_are_answered_a_part_at_a_time(monkeypatch):
    X, y = smooth()
    model = Regressor(random_state=0, max_iter=5).fit(X, y)
    whole = model.predict(X)
    monkeypatch.setattr("chainrule.ensemble.AT_ONCE", 32)
    asked = []
    encode = Inputs.encode
    monkeypatch.setattr(
        Inputs, "encode", lambda self, table, *rest: asked.append(len(table)) or encode(self, table, *rest)
    )
    np.testing.assert_array_equal(model.predict(X), whole)
    assert max(asked) == 32


def test_one_network_doubts_as_several_do():
    network = Network([1, 1], output="sigmoid", seed=0)
    network.layers[0].bias[:] = 30
    members = [Member(network, share=0.5)] * 2
    pool = Pool("sigmoid").after(60, 1)
    assert Ensemble(None, [Member(network)], pool=pool).answer(np.zeros((1, 1))) == Ensemble(
        None, members, pool=pool
    ).answer(np.zeros((1, 1)))


def test_one_row_and_a_validation_set():
    X, y = smooth(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Regressor(random_state=0, max_iter=3).fit(X[:1], y[:1], X_val=X, y_val=y)
    assert np.isfinite(model.predict(X)).all()


def test_nothing_is_done_to_a_table_where_images_are_not_to_be_distorted():
    X, y = smooth()
    assert "bayesian" in Regressor(random_state=0, augment=None).fit(X, y).summary()


@pytest.mark.parametrize("output", ["tanh", "relu", "silu"])
def test_a_column_of_which_nothing_is_learned_is_near_its_mean(output, rng):
    """Whatever the output: what no constant makes is left as it was learned."""
    X = rng.normal(size=(200, 2))
    Y = np.column_stack([np.tanh(X[:, 0]), 0.3 + 0.1 * rng.normal(size=200)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Regressor(output=output, random_state=0, ensemble=2, max_iter=40).fit(X, Y)
    assert model.predict(X)[:, 1].mean() == pytest.approx(0.3, abs=0.1)


def test_layers_of_a_list_are_honoured():
    X, y = smooth()
    settings = {"hidden_layer_sizes": [8], "activation": np.array(["tanh"]), "dropout": [0.0, 0.1]}
    model = Regressor(random_state=0, max_iter=30, ensemble=2, **settings).fit(X, y)
    assert model.network_.sizes[1:-1] == (8,)
    assert "tanh 8" in model.summary()


def test_copies_of_rows_do_not_flatter(rng):
    """What is learned by heart is not taken for what is known."""
    X = rng.normal(size=(120, 4))
    true = np.sin(X[:, 0]) + 0.5 * X[:, 1]
    y = true + 0.5 * rng.normal(size=120)
    copied = Regressor(random_state=0, ensemble=4).fit(np.tile(X, (4, 1)), np.tile(y, 4))
    assert min(choice["loss"] for choice in copied.choice_) > 0.1, "of noise that nobody can know"
    assert np.sqrt(np.mean((copied.predict(X) - true) ** 2)) < 0.35
    kinds = Classifier(random_state=0, ensemble=4).fit(np.tile(X, (4, 1)), np.tile(y > 0, 4))
    assert min(choice["loss"] for choice in kinds.choice_) > 0.2


def test_equal_bits_on_any_number_of_threads():
    X, y = smooth(60)
    one, *others = (Regressor(random_state=0, n_threads=threads).fit(X, y) for threads in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(other.predict(X), one.predict(X))
        assert [m.network.parameters.tobytes() for m in other.ensemble_.members] == [
            m.network.parameters.tobytes() for m in one.ensemble_.members
        ]
    assert (Regressor(random_state=1).fit(X, y).predict(X) != one.predict(X)).any()


@pytest.mark.parametrize("settings", [{"weight_decay": 30.0}, {"alpha": 10.0, "activation": "relu"}], ids=str)
def test_equal_bits_where_networks_are_tried_again(settings):
    """With idle units, which make a second try: whether one was trained ahead is a matter of chance, its answer is not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 2))
    y = np.abs(X[:, 0]) + 0.3 * rng.normal(size=160)
    answers = set()
    for threads in (1, 2, 2, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = Regressor(max_iter=30, random_state=0, n_threads=threads, **settings).fit(X, y)
        answers.add(model.predict(X).tobytes())
    assert len(answers) == 1


def test_jobs_are_taken_so_that_no_core_waits():
    """Of the bayesian ones one at once, unless nothing else is left; what is ahead while others run, one more after."""
    fold = Fold(np.arange(2), np.arange(2, 4))
    heard, large = Recipe("bayesian", (5,), "tanh"), Recipe("adamw", (64,), "silu")
    jobs = [(large, fold, 0), (heard, fold, 0), (heard, fold, 1)]
    ahead = [(large, fold, k) for k in (1, 2, 3)]
    queue = Queue(list(jobs), list(ahead), 1)
    taken = [queue.take(None) for _ in range(4)]
    assert taken == [jobs[1], jobs[0], jobs[2], ahead[0]]
    for job in jobs:
        queue.finish(job)
    assert queue.take(jobs[2]) == ahead[1]  # else its core would wait for the other
    queue.finish(ahead[0])
    assert queue.take(ahead[0]) is None
    queue.finish(ahead[1])
    assert queue.take(jobs[2]) is None
    assert queue.ahead == ahead[2:]


@pytest.mark.parametrize(("best", "asked"), [((5,), 4), ((10,), 4), ((20,), 6), ((8, 8), 6)])
def test_the_widest_are_tried_where_wider_is_better(best, asked, monkeypatch):
    logs = {(5,): 1.0, (10,): 2.0, (20,): 1.5, (8, 8): 0.5, (40,): 3.0, (16, 16): 1.0} | {best: 2.5}
    tried = []

    def all_of(self, jobs, ahead=()):
        tried.extend(recipe.hidden for recipe, _, _ in jobs if recipe.bayesian)
        evidence = [Evidence(logs.get(recipe.hidden, 0.0), 1.0, np.ones(1), np.ones(1)) for recipe, _, _ in jobs]
        checks = [[Check(1, np.zeros(2), np.ones((10, 1)))] for _ in jobs]
        return [Made(Network([1, 1]), History(evidence=heard), of) for heard, of in zip(evidence, checks, strict=True)]

    monkeypatch.setattr(Learner, "all_of", all_of)
    labels = np.zeros((20, 1))
    learner = Learner(Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, 1)
    fold, ways = Fold(np.arange(10), np.arange(10, 20)), [[Recipe("bayesian", hidden, "tanh") for hidden in WIDTHS]]
    (chosen,) = learner.choose_widths(ways, fold, [[Recipe("adamw", (64,), "silu")]])
    assert len(set(tried)) == asked
    assert len(tried) == 2 * asked
    assert [recipe.hidden for recipe in chosen] == (
        [(64,), (40,), best] if asked == 6 else [(64,), best, *{(5,): [(10,)], (10,): [(20,)]}[best]]
    )
    assert {number for _, number in learner.known} == {0}


def learner_of_answers(monkeypatch, answer):
    """A learner, of zeros, whose networks answer ten rows by answer(recipe), all of the same evidence."""

    def all_of(self, jobs, ahead=()):
        heard = Evidence(0.0, 1.0, np.ones(1), np.ones(1))
        answers = [np.full((10, 1), answer(recipe)) for recipe, _, _ in jobs]
        return [Made(Network([1, 1]), History(evidence=heard), [Check(1, np.zeros(2), z)]) for z in answers]

    monkeypatch.setattr(Learner, "all_of", all_of)
    labels = np.zeros((20, 1))
    return Learner(Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, 1)


@pytest.mark.parametrize(
    ("bent", "left"), [(1.0, ["", "log"]), (1.4, ["", "log"]), (1.5, [""]), (0.7, ["log"]), (np.nan, [""])]
)
def test_a_way_that_is_far_worse_after_short_trainings_is_left(bent, left, monkeypatch):
    """The loss is half the square of the answer, 1 where labels are as they are."""
    learner = learner_of_answers(monkeypatch, lambda recipe: bent if recipe.bend else 1.0)
    heard = [[Recipe("bayesian", (n,), "tanh", bend=bend) for n in (5, 10)] for bend in ("", "log")]
    large = [[Recipe("adamw", (64,), "silu", bend=bend)] for bend in ("", "log")]
    ways = learner.choose_widths(heard, Fold(np.arange(10), np.arange(10, 20)), large)
    assert [{recipe.bend for recipe in recipes} for recipes in ways] == [{bend} for bend in left]
    assert all(len(recipes) == 3 for recipes in ways)


@pytest.mark.parametrize(("costly", "error", "wanted"), [(True, 0.1, (10,)), (True, 3.0, (64,)), (False, 0.1, (64,))])
def test_what_is_trained_ahead(costly, error, wanted, monkeypatch):
    """The costly recipe that was better even in a short training, else the first of mini-batches."""
    learner = learner_of_answers(monkeypatch, lambda recipe: error if recipe.bayesian else 1.0)
    folds = [Fold(np.arange(10), np.arange(10, 20)), Fold(np.arange(10, 20), np.arange(10))]
    heard, large = Recipe("bayesian", (10,), "tanh", costly=costly), Recipe("adamw", (64,), "silu")
    learner.choose_widths([[heard]], folds[0], [[large]])
    (ahead,) = learner.likely([large, heard], folds)
    assert (ahead[0].hidden, ahead[2]) == (wanted, 1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of so few epochs
@pytest.mark.parametrize("labels", ["classes", "numbers"])
def test_each_network_is_reported(labels, capsys):
    """Those that are trained ahead, too."""
    x = np.random.default_rng(0).normal(size=(60, 2))
    if labels == "classes":
        Classifier(verbose=True, random_state=0, max_iter=2, n_threads=2).fit(x, x[:, 0] > 0)
    else:
        Regressor(verbose=True, random_state=0, max_iter=2, hidden_layer_sizes=(5,), n_threads=2).fit(x, x[:, 0])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert all(re.fullmatch(r" *\d+\.\d s  .*, network \d+", line) for line in lines), lines


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


def test_the_summary_says_how_good_all_are_together(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = Regressor(random_state=0, ensemble=2).fit(X, y)
    used = [choice for choice in model.choice_ if choice["share"] > 0]
    assert len(used) > 1
    assert model.together_ <= min(choice["loss"] for choice in used)
    assert f", together {model.together_:.4g}, on rows not learned from" in model.summary()
    chainrule.save(model, tmp_path / "m.chain")
    assert chainrule.load(tmp_path / "m.chain").summary() == model.summary()


def test_the_summary_says_what_was_measured_on_fewer_rows():
    X = np.random.default_rng(0).normal(size=(200, 3))
    model = Regressor(random_state=0).fit(X, np.sin(2 * X[:, 0]) * X[:, 1])
    some = [c for c in model.choice_ if 0 < c["networks"] < 8]
    assert some
    for c in some:
        first = f"(the first there {c['first']:.4g})"
        assert f"{c['recipe']} {c['loss']:.4g} on {c['networks']} of 8 parts {first}" in model.summary()
        assert c["first"] < c["loss"]


def test_score_of_labels_some_of_which_are_missing():
    r = np.random.default_rng(0)
    X = r.normal(size=(80, 2))
    Y = np.c_[X[:, 0], X[:, 1]]
    model = Regressor(solver="lbfgs", random_state=0, max_iter=50, tol=0).fit(X, Y)
    whole = model.score(X, Y)
    some = np.where(r.random(Y.shape) < 0.2, np.nan, Y)
    assert model.score(X, some) == pytest.approx(whole, abs=0.01)
    with pytest.raises(ValueError, match="one row for each of the 80 rows of X; found 79"):
        model.score(X, some[1:])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of so few epochs
@pytest.mark.parametrize("bounds", [(0, 1e7), (-1e7, 1e7), (-1e7, None), (None, 1e7)])
def test_bounds_far_away_cost_nothing(bounds):
    r = np.random.default_rng(1)
    X, other = r.uniform(-2, 2, (2, 200, 3))

    def f(X):
        return np.exp(X[:, 0]) + X[:, 1] ** 2

    model = Regressor(bounds=bounds, random_state=0, ensemble=2).fit(X, f(X))
    assert 1 - model.score(other, f(other)) < 1e-4
    low, high = bounds
    far = model.predict(1e9 * other)
    assert low is None or (far >= low).all()
    assert high is None or (far <= high).all()
    named, free = (
        Regressor(bounds=of, solver="lbfgs", random_state=0, max_iter=20).fit(X, f(X)) for of in (bounds, None)
    )
    if low != 0:  # else one end is near
        assert np.array_equal(named.predict(other), free.predict(other))


def test_what_is_given_is_honoured():
    X, y = stepped(100)
    model = Regressor(hidden_layer_sizes=(7, 5), activation="tanh", max_iter=20, random_state=0).fit(X, y)
    for member in model.ensemble_.members:
        assert member.network.sizes[1:-1] == (7, 5)
        assert member.network.activations == ("tanh", "tanh", "identity")
    assert max(h.epochs for h in [model.history_]) <= 20
    assert {len(m.network.layers) for m in model.ensemble_.members} == {3}
    for change in ({"alpha": 1.0}, {"dropout": 0.2}, {"weight_decay": 0.1}, {"clip": 1.0}, {"max_norm": 1.0},
                   {"adversarial": 0.1}, {"batch_size": 16}, {"learning_rate_init": 0.001}, {"loss": "huber"}):  # fmt: skip
        other = Regressor(max_iter=5, random_state=0, **change).fit(X, y)
        assert not any("bayesian" in c["recipe"] for c in other.choice_), change
    two = Regressor(ensemble=2, max_iter=5, random_state=0).fit(X, y)
    assert {c["networks"] for c in two.choice_ if c["share"]} == {2}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of five epochs
def test_a_named_solver_trains_one_network(tmp_path):
    X, y = stepped(100)
    model = Regressor(solver="adam", max_iter=5, tol=0).fit(X, y)
    assert len(model.ensemble_.members) == 1
    assert model.network_.sizes == (2, 100, 1)
    assert model.summary() == "2-100-1 by adam, 5 epochs, as it was asked for"
    chainrule.save(model, tmp_path / "m.chain")
    assert chainrule.load(tmp_path / "m.chain").summary() == model.summary()
    again = Regressor(max_iter=5).fit(X, y).set_params(solver="adam", tol=0).fit(X, y)
    assert again.summary() == model.summary()  # not what an earlier fit chose
    bayesian = Regressor((5,), "tanh", solver="bayesian", alpha=0.0, tol=0, random_state=0).fit(*smooth())
    assert bayesian.history_.evidence is not None
    assert rmse(bayesian, *smooth(seed=1)) < 0.1


def test_what_a_fit_did_is_said(rng, tmp_path):
    """What was chosen, what else was tried, what a constant would be worth; and what is looked at in the end."""
    X, y = smooth(120)
    model = Regressor(random_state=0).fit(X, y)
    said = model.summary()
    assert re.match(
        r"8 networks, tanh \S+ by bayesian \(mean loss \S+\), on rows not learned from; the others: silu 128", said
    )
    assert re.search(
        r"linear by bayesian \S+ on 1 of 8 parts \(the first there \S+\), a constant answer 0\.\d+; \d+\.\d s$", said
    )
    assert model.choice_[-1]["loss"] == pytest.approx(0.5, abs=0.1), "half the variance"
    batches = Regressor(random_state=0, batch_size=32, max_iter=40).fit(X, y)
    assert len(batches.validation_curve_) == 20
    assert min(batches.validation_curve_) == max(batches.choice_, key=lambda c: c["share"])["loss"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that next to nothing was learned
        assert Regressor(random_state=0, time_limit=0.01).fit(X, y).summary().endswith("s, when time was up")
    twice = Regressor(random_state=0, hidden_layer_sizes=(8,), activation="tanh", max_iter=5, learning_rate="constant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = [c["recipe"] for c in twice.fit(X, rng.normal(size=120)).choice_]
    assert len(names) == len(set(names))


def test_the_users_penalty_takes_the_place_of_decay():
    X, y = smooth(60)
    how = {"random_state": 0, "ensemble": 2, "max_iter": 20, "hidden_layer_sizes": (8,)}
    weights = {
        decay: np.abs(Regressor(**how, **given).fit(X, y).network_.parameters).sum()
        for decay, given in (("both", {"alpha": 0.0}), ("own", {"alpha": 0.0, "weight_decay": 1.0}))
    }
    assert weights["own"] < 0.95 * weights["both"]
    plain = Regressor(**how, alpha=0.0).fit(X, y)
    none = Regressor(**how, alpha=0.0, weight_decay=0.0).fit(X, y)
    np.testing.assert_array_equal(plain.network_.parameters, none.network_.parameters)


def test_time_limit_ends_the_training():
    X, y = smooth(3000)
    started = time.perf_counter()
    model = Regressor(time_limit=0.5, random_state=0).fit(X, y)
    assert time.perf_counter() - started < 3
    assert rmse(model, *smooth(seed=1)) < 0.5


def test_of_very_many_rows_some_are_learned_from_where_time_is_limited():
    X = np.random.default_rng(0).normal(size=(100_000, 20))
    y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    started = time.perf_counter()
    model = Regressor(random_state=0, time_limit=1.0).fit(X, y)
    assert time.perf_counter() - started < 3
    assert rmse(model, X[::20], y[::20]) < 0.7 * np.std(y)
    assert re.search(r"\((\d+ of \d+ epochs, )?one row in \d\d", model.summary())


def test_rows_are_taken_of_each_class_alike(monkeypatch):
    """As many as the time allows, whatever order they come in; all where there is time, or the epochs are settled."""
    X = np.random.default_rng(0).normal(size=(12_000, 2))
    classes = (np.arange(12_000) < 600).astype(np.intp)
    table, columns = read_table(X, "X")
    inputs = Inputs.learn(columns, table, "robust", None)
    problem = Problem("binary_cross_entropy", "sigmoid", 1, {})
    monkeypatch.setattr(Learner, "epoch_of", lambda self, recipe, fold, threads: 0.01 * len(self.table))
    for settled, one_in in (({}, 5), ({"epochs": 3}, 1)):
        learner = Learner(problem, inputs, table, classes[:, None], np.arange(12_000.0), 0, 1, settled)
        learner.take_fewer(classes)
        assert len(learner.table) == 12_000
        learner.deadline = time.perf_counter() + 1800
        learner.take_fewer(classes)
        rows = learner.weight.astype(int)
        assert len(rows) == 12_000 / learner.one_in
        assert abs(learner.one_in - one_in) <= 1
        assert abs(learner.labels.sum() - 600 / learner.one_in) <= 1
        np.testing.assert_array_equal(learner.table, table[rows])
        assert learner.hurried == (one_in > 1)


@pytest.mark.parametrize(
    ("affordable", "pace", "said"),
    [
        (30.0, Pace(30), ""),
        (29.9, Pace(29), " (29 of 30 epochs)"),
        (1.5, Pace(1), " (1 of 30 epochs)"),
        (0.3, Pace(1, 4), " (1 of 30 epochs, one row in 4)"),
        (1e-9, Pace(1, 10), " (1 of 30 epochs, one row in 10)"),
    ],
)
def test_what_little_time_allows(affordable, pace, said):
    assert Pace.within(affordable, 30, 10) == pace
    assert pace.of(30) == said


def test_recipes_share_the_time_alike(monkeypatch):
    """They are compared; a second try has the pace of the first, later ones what then is left, images to try a part."""
    seconds = {"silu": 2.0, "tanh": 0.5, "relu": 1.0}  # of an epoch
    monkeypatch.setattr(Learner, "epoch_of", lambda self, recipe, fold, threads: seconds[recipe.activation])
    monkeypatch.setattr("chainrule.learner.time.perf_counter", lambda: 1000.0)
    labels, fold = np.zeros((20_000, 1)), Fold(np.arange(20_000), np.arange(1))
    silu, tanh, relu = (Recipe("adamw", (9,), activation, epochs=100) for activation in seconds)
    heard = Recipe("bayesian", (5,), "tanh")
    jobs = [(recipe, fold, 0) for recipe in (silu, tanh, heard)]

    def paced(left, *of, n_threads=2, part=0.8, **fixed):
        learner = Learner(
            Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, n_threads, fixed,
            deadline=1000.0 + left,
        )  # fmt: skip
        for some in of:
            learner.set_paces(some, part)
        return learner, [learner.pace(recipe) for recipe in (silu, tanh, relu, heard)]

    rest = Pace(100), Pace(heard.epochs)
    assert paced(np.inf, jobs)[1] == [Pace(100), Pace(100), *rest]
    assert paced(100, jobs)[1] == [Pace(40), Pace(40), *rest], "the longest takes 80 of 100 seconds"
    assert paced(100, jobs, n_threads=1)[1] == [Pace(32), Pace(32), *rest], "100 x 2.5 seconds"
    assert paced(100, jobs, part=0.2)[1] == [Pace(10), Pace(10), *rest]
    assert paced(1, jobs)[1] == [Pace(1, 3), Pace(1, 3), *rest]
    assert paced(1e-9, jobs)[1] == [Pace(1, 9), Pace(1, 9), *rest], "some 2,000 rows in any case"
    assert paced(100, jobs, epochs=100)[1] == [Pace(100), Pace(100), *rest], "as the user has settled"
    learner, paces = paced(100, jobs, [*jobs, (relu, fold, 0)])
    assert paces == [Pace(40), Pace(40), Pace(80), Pace(heard.epochs)]
    assert learner.pace(replace(silu, learning_rate=silu.learning_rate / 10)) == Pace(40)
    learner.took[silu] = 101.0  # of one thread
    assert learner.too_long(silu, 1)
    assert not learner.too_long(silu, 2)
    assert not learner.too_long(relu, 1)


def test_how_long_an_epoch_takes(monkeypatch):
    """By the second of some rows; a network is also looked at, and Ctrl-C may come."""
    asked = []

    def train(self, network, recipe, kept, number, look, threads):
        asked.append((recipe.epochs, len(kept), threads))
        return History(seconds=list(seconds))

    monkeypatch.setattr(Learner, "train", train)
    labels = np.zeros((9192, 1))
    learner = Learner(Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, 2)
    recipe, fold = Recipe("adamw", (), "identity", epochs=200), Fold(np.arange(8192), np.arange(8192, 9192))
    seconds = [9.0, 2.0]
    assert learner.epoch_of(recipe, fold, 2) == pytest.approx(2 * (4 + 0.1 * 1000 / 3 / 2048))
    assert asked == [(2, 2048, 2)]
    seconds = []
    assert learner.epoch_of(recipe, fold, 2) == np.inf
    learner.stopped.set()
    assert learner.epoch_of(recipe, fold, 2) == np.inf
    assert len(asked) == 2


def test_a_table_in_little_time(tmp_path, monkeypatch):
    """A training that would be cut short has fewer epochs from the start; one whose epochs are settled has not."""
    X, y = smooth(3000)
    monkeypatch.setattr(Learner, "epoch_of", lambda self, recipe, fold, threads: 0.02)
    model = Regressor(time_limit=2.0, random_state=0).fit(X, y)
    said = model.summary()
    (epochs,) = re.findall(r"silu 128-128-128 on \S+ bins and \S+ waves by adamw \((\d+) of 228 epochs\)", said)
    assert 50 <= int(epochs) <= 80
    assert re.search(r" s, (to be ready in time|when time was up)$", said)
    chainrule.save(model, tmp_path / "m.chain")
    assert chainrule.load(tmp_path / "m.chain").summary() == said
    named = Regressor(time_limit=0.5, max_iter=30, random_state=0).fit(X, y)
    assert " of 30 epochs" not in named.summary()


def test_nothing_learned_in_the_time_is_said(rng):
    X = rng.normal(size=(2000, 5))
    with pytest.warns(ConvergenceWarning, match="nothing was learned in the time that time_limit allows"):
        Regressor(time_limit=1e-3, random_state=0).fit(X, rng.normal(size=2000))


def test_shares_are_chosen_by_rows_that_all_have_answered():
    """Where a network of one recipe is missing, as it was cut short, and another recipe has that alone, one is left out."""

    def trial(*folds):
        made = [Made(Network([1, 1]), History(), []) for _ in folds]
        return Trial(Recipe("adamw", (), "identity"), list(folds), made, [np.ones((2, 1)) for _ in folds], 1.0)

    first, second, third = (Fold(np.arange(2), np.arange(2)) for _ in range(3))
    trials = [trial(first), trial(second, third), trial(first, second)]
    choice = choose_shares(trials, lambda folds, answers: float(np.mean(answers)) / len(folds), Pool())
    assert choice.folds == [second]
    assert trials[0].share == 0


def test_a_validation_set_is_there_whatever_order_rows_come_in(monkeypatch):
    """Of one row in some there are all kinds, though they come by turns."""
    X = np.random.default_rng(0).normal(size=(9600, 2))
    y = np.arange(9600) % 2
    X[:, 0] += 4 * y
    monkeypatch.setattr(Learner, "epoch_of", lambda self, recipe, fold, threads: 1e3)
    model = Classifier(time_limit=3.0, random_state=0).fit(X[:8192], y[:8192], X_val=X[8192:], y_val=y[8192:])
    assert "one row in 4" in model.summary()
    assert model.score(X[8192:], y[8192:]) > 0.9


def test_networks_that_went_astray_begin_again(monkeypatch):
    """Known by an evidence far below the middle one's; what comes of it stays where it has more, of two tries at the most."""
    folds = [Fold(np.delete(np.arange(80), np.arange(k, 80, 8)), np.arange(k, 80, 8)) for k in range(8)]
    labels, tried = np.zeros((80, 1)), []

    def made(log):
        answers = np.full((10, 1), -log)  # the loss is half the square
        return Made(
            Network([1, 1]),
            History(evidence=Evidence(70 * log, 1.0, np.ones(1), np.ones(1))),
            [Check(1, np.zeros(2), answers)],
        )

    def all_of(self, jobs, ahead=(), part=0.0):
        tried.extend((folds.index(fold), number) for _, fold, number in jobs)
        return [made({3: -0.4, 5: -9.9 if number < 16 else -1.0}[folds.index(fold)]) for _, fold, number in jobs]

    monkeypatch.setattr(Learner, "all_of", all_of)
    learner = Learner(Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, 1)
    trial = Trial(
        Recipe("bayesian", (5,), "tanh"),
        list(folds),
        [made(log) for log in (-0.5, -0.6, -0.5, -3, -0.55, -4, -0.4, -0.65)],
    )
    learner.start_again(trial)
    assert tried == [(3, 11), (5, 13), (5, 21)]
    heard = [one.history.evidence.log / 70 for one in trial.made]
    assert heard == pytest.approx([-0.5, -0.6, -0.5, -0.4, -0.55, -1.0, -0.4, -0.65])
    assert trial.loss == pytest.approx(np.mean(np.square(heard)) / 2)
    tried.clear()
    batches = Trial(
        Recipe("adamw", (5,), "tanh"),
        folds[:1],
        [Made(Network([1, 1]), History(), [Check(1, np.zeros(2), np.ones((10, 1)))])],
    )
    learner.start_again(batches)
    assert not tried


@pytest.mark.parametrize(("later", "shares"), [(0.5, 1), (3.0, 4)])
def test_what_fell_behind_is_tried_after_all(later, shares, monkeypatch):
    """Where the best for the first part is far worse for the others than another was for the first."""
    first, second = Recipe("adamw", (5,), "tanh"), Recipe("adamw", (9,), "tanh")
    labels = np.zeros((40, 1))
    folds = [Fold(np.delete(np.arange(40), np.arange(k, 40, 4)), np.arange(k, 40, 4)) for k in range(4)]

    def all_of(self, jobs, ahead=(), part=0.0):
        answers = [(later if number else 0.1) if recipe is first else 1.0 for recipe, _, number in jobs]
        return [Made(Network([1, 1]), History(), [Check(1, np.zeros(2), np.full((10, 1), z))]) for z in answers]

    monkeypatch.setattr(Learner, "all_of", all_of)
    learner = Learner(Problem("half_squared_error", "identity", 1, {}), None, labels, labels, None, 0, 1)
    trials = learner.cross_fit([first, second], folds)
    assert [len(trial.made) for trial in trials] == [4, shares]


def test_a_function_that_some_starts_miss():
    """Of 300 rows: before others were begun in their place, two of these seeds had errors of 0.04."""
    X = np.random.default_rng(0).uniform(-1, 1, (1300, 5))
    y = np.exp(X[:, 0]) * np.sin(2 * X[:, 1]) + X[:, 2] * X[:, 3]
    for seed in (0, 5):
        assert rmse(Regressor(random_state=seed).fit(X[:300], y[:300]), X[300:], y[300:]) < 0.002


def test_networks_cut_short_do_not_speak_for_whole_ones():
    """All networks of a recipe are judged at one time: one that ended early would make that early for all."""

    def made(looks, whole=True):
        return Made(Network([1, 1]), History(), [Check(k, np.zeros(1), np.zeros((1, 1))) for k in range(looks)], whole)

    def left(*of):
        trial = Trial(Recipe("adamw", (), "identity"), list(range(len(of))), list(of))
        trial.drop_unfinished()
        assert [of[fold] for fold in trial.folds] == trial.made
        return trial.folds

    assert left(made(20), made(3, False), made(20)) == [0, 2]
    assert left(made(9, False), made(3, False), made(8, False)) == [0, 2], "of those alone that came as far"
    assert left(made(1, False), made(1)) == [1], "bayesian ones have one look, at the end"
    assert left(made(1, False)) == [0]


def test_time_is_up_in_the_midst_of_the_networks(monkeypatch):
    """What is begun when there is too little time left is not there in the end, nor what would take too long."""
    X, y = smooth(400)
    clock = [0.0]
    train_problem = Problem.train

    def train_slowly(self, network, recipe, *arguments):
        *rest, look, threads = arguments

        def look_later(history):
            clock[0] += 1.0  # a second from look to look
            return look(history)

        return train_problem(self, network, recipe, *rest, look_later, threads)

    monkeypatch.setattr(Problem, "train", train_slowly)
    monkeypatch.setattr("chainrule.learner.time.perf_counter", lambda: clock[0])
    model = Regressor(
        (8,), activation="tanh", max_iter=20, learning_rate="constant", ensemble=8, time_limit=150, n_threads=1,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    most = max(model.choice_, key=lambda chosen: chosen["networks"])
    assert 3 <= most["networks"] < 8
    assert len(model.validation_curve_) == 20, "all looks are there"
    assert clock[0] <= 150 + 1, "what is under way ends at its next look"
    assert model.hurried_


def test_very_large_tables_are_encoded_with_less():
    """The numbers that a table becomes are to fit into memory."""
    table = np.random.default_rng(0).normal(size=(500, 20))
    table, described = read_table(table, "X")
    inputs = Inputs.learn(described, table, "robust")
    problem = Problem("half_squared_error", "identity", 1, {})
    widths = []
    for rows in (1000, 1_000_000, 10_000_000):
        form = by_batches(rows, inputs, problem, {})[0].form
        assert rows * inputs.width(form) <= max(ENCODED, rows * 20)
        widths.append(inputs.width(form))
    assert widths[0] > widths[1] > widths[2] == 20
    assert [r.form.bins for r in by_batches(10_000_000, inputs, problem, {"hidden": (5,)})] == [0]


def test_classes():
    X, y = load_iris(return_X_y=True)
    model = Classifier(random_state=0).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.9
    P = model.predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)
    two = Classifier(random_state=0, max_iter=30).fit(X[:100], np.array(["a", "b"])[y[:100]])
    assert two.predict(X[:100]).tolist() == ["a"] * 50 + ["b"] * 50


def test_several_outputs_and_a_validation_set():
    X, y = smooth()
    Y = np.column_stack([y, 1000 * X[:, 0]])
    model = Regressor(random_state=0).fit(X, Y)
    assert model.predict(X).shape == (150, 2)
    assert model.score(X, Y) > 0.99
    own = Regressor(random_state=0, max_iter=30).fit(X, y, X_val=X[:30], y_val=y[:30])
    assert rmse(own, X, y) < 0.3
    half = Regressor(random_state=0, max_iter=30).fit(X, y, X_val=X[:30], y_val=y[:30] + np.std(y))
    assert min(choice["loss"] for choice in half.choice_) > 0.4, "judged by these: each misses by a deviation"


def test_tables_of_any_kind():
    """Missing values, categories, one that is new, dates and truths: answered, not refused."""
    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "colour": rng.choice(["red", "green", "blue"], n),
            "bought": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D"),
            "new": rng.random(n) < 0.5,
        }
    )
    y = frame["size"] + frame["colour"].map({"red": 2.0, "green": 0.0, "blue": -2.0}) * frame["new"]
    frame.loc[::7, "size"] = np.nan
    frame.loc[3, "colour"] = None
    model = Regressor(random_state=0).fit(frame[:250], y[:250])
    rest = frame[250:].assign(colour=frame["colour"][250:].where(frame.index[250:] != 260, "violet"))
    answers = model.predict(rest)
    known = rest["size"].notna() & (rest["colour"] != "violet")
    assert np.sqrt(np.mean((answers - y[250:])[known] ** 2)) < 0.3
    assert np.isfinite(answers).all()
    assert model.feature_names_in_.tolist() == ["size", "colour", "bought", "new"]
    with pytest.raises(DataError, match="X, column 'size': is a number in what was learned from; found 'big' at row 0"):
        model.predict(rest.assign(size="big"))


def test_saved_and_pickled_it_answers_the_same(tmp_path):
    frame = pd.DataFrame({"a": [0.1, 0.5, np.nan, 0.9] * 10, "b": ["x", "y", "y", "x"] * 10})
    y = np.tile([1.0, 5.0, 4.0, 9.0], 10) + np.arange(40) / 100
    model = Regressor(random_state=0, max_iter=10).fit(frame, y)
    chainrule.save(model, tmp_path / "m.chain")
    for again in (chainrule.load(tmp_path / "m.chain"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
        assert again.summary() == model.summary()
        assert len(again.ensemble_.members) == len(model.ensemble_.members) > 1


def test_explanation_of_one_of_many(capsys):
    X, y = load_diabetes(return_X_y=True)
    model = Regressor(hidden_layer_sizes=(3,), random_state=0).fit(X, y)
    assert "∂ε/∂" in str(chainrule.explain(model, X[0], y[0]))


def test_weights_count():
    """Rows of weight 0 do not count, those of weight 9 as nine of weight 1."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    y = np.where(np.arange(200) % 2, X[:, 0], -X[:, 0])
    model = Regressor(random_state=0).fit(X, y, sample_weight=(np.arange(200) % 2) * 3.0)
    assert rmse(model, X[1::2], y[1::2]) < 0.01
    nine = Regressor(random_state=0).fit(X, X[:, 0] + np.arange(200) % 2, sample_weight=1 + 8 * (np.arange(200) % 2))
    np.testing.assert_allclose(nine.predict(X), X[:, 0] + 0.9, atol=0.1)


@pytest.mark.parametrize("loss", ["huber", "quantile", "half_squared_error"])
def test_what_rows_of_no_weight_say_decides_nothing(loss):
    """Neither what a constant answers, nor how y is bent, nor which columns are taken."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 20))
    y, weight = X[:, 0] * X[:, 1] + X[:, 2], np.repeat([1.0, 0.0], 200)
    y[200:] = 10 * np.exp(4 * X[200:, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = Regressor(loss=loss, random_state=0, max_iter=20, ensemble=2).fit(X, y, sample_weight=weight)
        alone = Regressor(loss=loss, random_state=0, max_iter=20, ensemble=2).fit(X[:200], y[:200])
    assert model.bends_ is None
    constants = [each.choice_[-1]["loss"] for each in (model, alone)]
    assert constants[0] == pytest.approx(constants[1], rel=0.2)
    for each in (model, alone):
        columns = next((choice["columns"] for choice in each.choice_ if "columns" in choice), ["x0"])
        assert "x5" not in columns


def test_a_quantile_by_weight():
    l = np.array([3.0, np.nan, 1.0, 2.0])
    assert [quantile(l, share, None) for share in (0.1, 0.5, 0.9)] == [1, 2, 3]
    assert quantile(l, 0.5, np.array([9.0, 9.0, 1.0, 0.0])) == 3
    assert quantile(l[1:2], 0.5, None) == 0


def test_partial_fit_goes_on_with_all_networks():
    X, y = smooth(100)
    model = Regressor(random_state=0, max_iter=5).fit(X, y)
    before = rmse(model, X, y)
    for _ in range(30):
        model.partial_fit(X, y)
    assert rmse(model, X, y) < before


def test_units_do_not_matter():
    X, y = (values[::3] for values in load_diabetes(return_X_y=True))
    plain = Regressor(random_state=0).fit(X, y).predict(X)
    for unit in (1e-200, 1e30, 1e200):
        answers = Regressor(random_state=0).fit(X * unit, y * unit).predict(X * unit) / unit
        assert np.sqrt(np.mean((answers - plain) ** 2)) < 0.1 * np.std(plain)


def test_too_few_rows():
    with pytest.raises(DataError, match="n_samples=1, too few to set any aside: name a solver"):
        Regressor().fit([[1.0]], [2.0])
    assert Regressor(random_state=0).fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]).predict([[2.0]]).shape == (1,)


def test_bayesian_recipes_suit_the_rows():
    problem = Problem("half_squared_error", "identity", 1, {})
    few, many = by_evidence(60, 4, problem, {}), by_evidence(3000, 4, problem, {})
    assert few[0].hidden == many[0].hidden == (5,)
    assert len(few) < len(many)
    assert [recipe.hidden for recipe in by_evidence(26, 3, problem, {})] == [(5,), (10,)]  # of 26 and 51 parameters
    assert (40,) not in [recipe.hidden for recipe in by_evidence(200, 3, problem, {})]
    assert by_evidence(1_000_000, 50, problem, {}) == []
    assert by_evidence(100, 4, Problem("huber", "identity", 1, {}), {}) == []
    assert by_evidence(100, 4, problem, {"dropout": 0.1}) == []


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


def test_a_curve_through_a_handful_of_points():
    """Seven of an exponential or a sine: the least network by evidence is tried however few they are."""
    x, between = np.linspace(-1, 1, 7)[:, None], np.linspace(-1, 1, 50)[:, None]
    for f in (np.exp, lambda x: np.sin(2 * x)):
        model = Regressor(random_state=0).fit(x, f(x[:, 0]))
        assert rmse(model, between, f(between[:, 0])) < 0.05 * np.std(f(x))
    with pytest.warns(ConvergenceWarning, match="5 rows are too few to tell whether anything was learned"):
        Regressor(random_state=0).fit(x[1:-1], x[1:-1, 0] ** 2)


def test_few_rows_of_a_smooth_function_are_enough():
    """A simulation that was run thirty times."""

    def simulated(n, seed):
        X = np.random.default_rng(seed).random((n, 3))
        return X, np.exp(X[:, 0]) * np.sin(3 * X[:, 1]) + X[:, 2]

    for seed in range(3):
        assert rmse(Regressor(random_state=seed).fit(*simulated(30, seed)), *simulated(1000, 9)) < 0.08  # of 0.62


@pytest.mark.parametrize(("cores", "alone"), [(1, 0), (2, 1), (3, 0), (8, 3)])
def test_costly_trainings_leave_no_core_idle(cores, alone, monkeypatch):
    """What of three costly ones does not come out even has all cores, before the others; the answers are in order."""
    begun = []

    def fit_member(self, recipe, fold, number, threads=1):
        begun.append((recipe.costly, threads))
        return Made(number, None, [])

    monkeypatch.setattr(Learner, "fit_member", fit_member)
    problem, fold = Problem("half_squared_error", "identity", 1, {}), Fold(np.arange(2), np.arange(1))
    learner = Learner(problem, None, np.ones((3, 1)), np.ones((3, 1)), None, 0, cores)
    costly, cheap = (Recipe("bayesian", (5,), "tanh", costly=costly) for costly in (True, False))
    jobs = [(recipe, fold, number) for number in range(3) for recipe in (cheap, costly)]
    assert [made.network for made in learner.all_of(jobs)] == [0, 0, 1, 1, 2, 2]
    assert [threads for _, threads in begun[:alone]] == [cores // alone] * alone if alone else True
    assert [threads for _, threads in begun[alone:]] == [max(1, cores // (6 - alone))] * (6 - alone)
    assert all(is_costly for is_costly, _ in begun[:alone])

    large = Recipe("adamw", (5,), "tanh", batch_size=SHARED)
    monkeypatch.setattr(Learner, "faults", lambda self, recipe, made: [])
    for beside, rows, first in (([], 3, alone), ([(cheap, fold, 0)], 3, 0), ([(cheap, fold, 0)], LONG, alone)):
        begun.clear()
        learner.table = np.ones((rows, 1))
        learner.all_of([*((large, fold, number) for number in range(3)), *beside])
        assert [threads for _, threads in begun[:first]] == [cores // first] * first if first else True
        rest = 3 + len(beside) - first
        assert [threads for _, threads in begun[first:]] == [max(1, cores // max(rest, 1))] * rest


def test_ctrl_c_on_one_thread(monkeypatch):
    """There the training itself takes it; what was not begun is not."""
    X = np.random.default_rng(0).random((60, 2))
    for first in (1, 5):  # of 3 kinds of networks, each for 4 parts
        calls = []

        def interrupted(*args, calls=calls, first=first, **options):
            calls.append(options["solver"])
            history = train(*args, **options)
            history.ending = "interrupted" if len(calls) == first else history.ending
            return history

        monkeypatch.setattr("chainrule.recipes.train", interrupted)
        with pytest.warns(UserWarning, match="interrupted"):
            model = Regressor(3, ensemble=4, max_iter=3, n_threads=1, random_state=0).fit(X, X[:, 0])
        assert model.history_.ending == "interrupted"
        assert len(calls) == first


def test_ctrl_c_keeps_what_was_learned(monkeypatch):
    X, y = smooth(400)
    ran = []

    def interrupt(self):
        ran.append(1)
        if len(ran) == 30:
            self.stopped.set()
        return self.stopped.is_set()

    monkeypatch.setattr("chainrule.learner.Learner.late", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model = Regressor(random_state=0, n_threads=1).fit(X, y)
    assert rmse(model, X, y) < 0.5 * np.std(y)


def test_ctrl_c_is_heard_where_a_lock_is_not():
    """Some packages, as polars, hear of it first; then a wait without end does not."""
    program = (
        "import signal, threading, time\n"
        "import numpy as np\n"
        "import polars\n"
        "from chainrule import Regressor\n"
        "X = np.random.default_rng(0).normal(size=(50_000, 10))\n"
        "threading.Timer(0.7, signal.raise_signal, [signal.SIGINT]).start()\n"
        "started = time.perf_counter()\n"
        "Regressor(random_state=0, n_threads=2).fit(X, X[:, 0] * X[:, 1])\n"
        "print(time.perf_counter() - started)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5


def test_a_class_that_is_not_there_costs_a_constant_little():
    """As one of many classes that is in none of the rows that are learned from: else whatever is learned seems much."""
    l = np.eye(40)[np.arange(60) % 20]
    z = Problem("cross_entropy", "softmax", 40, {}).constant(l, None)
    P = Pool("softmax").close(z)
    np.testing.assert_allclose(P[0, [0, 39]], [3.5 / 80, 0.5 / 80])


def test_as_many_threads_as_are_free(monkeypatch):
    """All cores by default, those that joblib leaves to a worker, or what was asked for; a named solver takes one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Regressor()._threads == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Regressor()._threads == 1
    assert Regressor(n_threads=3)._threads == 3
    assert Regressor(solver="adam")._threads == 1


def test_targets_may_be_missing_where_there_are_several(rng):
    """Each output learns from the rows that have it."""
    X = rng.uniform(-1, 1, (240, 3))
    Y = np.stack([X[:, 0] + X[:, 1] ** 2, np.sin(3 * X[:, 2])], axis=1)
    held = rng.random(Y.shape) > 0.4
    held[:20, 0], held[20:30] = False, False
    model = Regressor(random_state=0, n_threads=2, max_iter=40).fit(X, np.where(held, Y, np.nan))
    assert np.sqrt(((model.predict(X) - Y)[~held] ** 2).mean()) < 0.15
    named = Regressor(solver="lbfgs", random_state=0, max_iter=300, tol=0.0).fit(X, np.where(held, Y, np.nan))
    assert np.sqrt(((named.predict(X) - Y)[~held] ** 2).mean()) < 0.3
    np.testing.assert_allclose(named.target_scale_.mean[1], Y[held[:, 1], 1].mean())
    with pytest.raises(ValueError, match="y: column 1 holds no number at all; leave it out"):
        Regressor().fit(X, np.stack([Y[:, 0], np.full(240, np.nan)], axis=1))


# ---- never silently wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [Regressor, Classifier])
def test_what_depends_on_nothing_is_said(known, rng):
    X, y = rng.normal(size=(300, 4)), rng.normal(size=300)
    with pytest.warns(ConvergenceWarning, match="no network found in X what y depends on: .* look whether the rows"):
        model = known(random_state=0, max_iter=10).fit(X, y if known is Regressor else (y > 0).astype(int))
    assert known is Classifier or np.std(model.predict(X)) < 0.5, "it answers nearly a constant"
    assert "a constant answer" in recipes(model, 0.01)


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
    monkeypatch.setattr("chainrule.learner.others", lambda *_: [])
    monkeypatch.setattr("chainrule.learner.by_evidence", lambda *_: [])
    monkeypatch.setattr("chainrule.learner.linear", lambda *_: Recipe("adamw", (64,), "relu", weight_decay=0.0))
    model = Regressor(random_state=0, **how).fit(X, y)
    share = model.choice_[-1]["share"]
    assert model.choice_[-1]["recipe"] == "a constant answer"
    assert share > 0.3
    answers = model.predict(rng.normal(size=(500, 5)))
    assert abs(np.mean(answers) - constant(y)) < 0.15 * y.std() + 1.5 * (1 - share) * y.std()
    assert np.std(answers) < y.std()


def test_a_row_far_from_all_others_is_not_answered_by_anything(rng):
    """Ten deviations away the answer stays near those that were seen."""
    X = rng.normal(size=(700, 4))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    model = Regressor(random_state=0, ensemble=2, max_iter=40, batch_size=64).fit(X, y)
    assert model.ensemble_.members[0].form.embedding
    for column in range(4):
        away = X[:20].copy()
        away[:, column] = np.repeat([-12.0, 12.0], 10)
        assert np.abs(model.predict(away)).max() < 1.5 * np.abs(y).max()


def test_no_answer_is_surer_than_the_rows_make_it(rng, tmp_path):
    """Two positives of sixty, far from all others: of a new row another class is still possible, as once in 62."""
    X = np.r_[rng.normal(size=(58, 2)), [[30.0, 30.0], [31.0, 31.0]]]
    two = Classifier(random_state=0).fit(X, np.arange(60) > 57)
    assert two.predict(X).tolist() == [False] * 58 + [True] * 2
    three = Classifier(random_state=0).fit(X, np.where(np.arange(60) > 57, 2, X[:, 0] > 0))
    for model, least in ((two, 1 / 62), (three, 1 / 124)):
        P = model.predict_proba(np.r_[X, 100 * X])
        assert least <= P.min() < 1.5 * least
        np.testing.assert_allclose(P.sum(axis=1), 1)
        chainrule.save(model, tmp_path / "m.chain")
        np.testing.assert_array_equal(chainrule.load(tmp_path / "m.chain").predict_proba(np.r_[X, 100 * X]), P)


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


def test_divergence_is_tried_again_with_smaller_steps(rng, monkeypatch):
    X, y = rng.normal(size=(300, 2)), rng.normal(size=300)
    rates = []
    fit_member = Learner.fit_member

    def diverging(self, recipe, fold, number, threads=1):
        if recipe.solver == "adamw":
            rates.append(recipe.learning_rate)
        if recipe.solver == "adamw" and recipe.learning_rate > 0.005:
            raise FloatingPointError
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Learner, "fit_member", diverging)
    how = {"random_state": 0, "n_threads": 1, "ensemble": 2, "max_iter": 30}
    model = Regressor(**how).fit(X, X[:, 0] + 0.01 * y)
    assert model.score(X, X[:, 0]) > 0.9
    assert min(rates) == pytest.approx(max(rates) / 10)
    with pytest.raises(FloatingPointError, match="no network learned anything finite"):
        Regressor(learning_rate_init=1.0, **how).fit(X, y)
    assert min(rates[-4:]) == 1.0, "what the user has settled stays"


def test_losses_that_are_no_numbers_are_said(rng, monkeypatch):
    monkeypatch.setattr(Learner, "loss_of", lambda self, folds, answers, column=None: np.nan)
    X = rng.normal(size=(40, 2))
    with pytest.raises(FloatingPointError, match=r"anything finite\. Leave max_iter to auto, or look for"):
        Regressor(random_state=0, ensemble=2, max_iter=2).fit(X, X[:, 0])


def test_saturated_networks_are_tried_again_with_smaller_steps_and_said(rng, monkeypatch):
    """The first layer's relus are all put far below 0, as too large a step does it; what is settled of the steps stays."""
    X = rng.normal(size=(300, 2))
    y = np.abs(X[:, 0])
    fit_member = Learner.fit_member
    rates = []

    def dying(self, recipe, fold, number, threads=1):
        made = fit_member(self, recipe, fold, number, threads)
        if recipe.solver == "adamw" and recipe.hidden:
            rates.append(recipe.learning_rate)
            if recipe.learning_rate > 0.005:
                made.network.layers[0].bias[:] = -1000
        return made

    monkeypatch.setattr(Learner, "fit_member", dying)
    how = {"activation": "relu", "random_state": 0, "n_threads": 1, "ensemble": 2, "max_iter": 30}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Regressor(**how).fit(X, y)
    assert min(rates) == pytest.approx(max(rates) / 10)
    monkeypatch.undo()
    with pytest.warns(
        ConvergenceWarning, match="of the 128 units of hidden layer . answer the same .* Leave activation"
    ):
        Regressor(learning_rate_init=3.0, **how | {"activation": "tanh"}).fit(X, y)


def test_idle_units_beside_others_that_do_the_work_are_not_said(rng, monkeypatch):
    """Of absolute errors many units of a last layer die; the answers are good, and nobody has settled anything."""
    X = rng.normal(size=(200, 2))
    fit_member = Learner.fit_member

    def dying(self, recipe, fold, number, threads=1):
        made = fit_member(self, recipe, fold, number, threads)
        if recipe.solver == "adamw" and recipe.hidden:
            made.network.layers[-2].bias[:100] = -1000
        return made

    monkeypatch.setattr(Learner, "fit_member", dying)
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


def test_a_second_try_is_kept_where_it_answers_better(rng):
    """At the best time of each, unless time is up."""
    labels = rng.normal(size=(20, 1))
    fold = Fold(np.arange(10), np.arange(10, 20))
    problem = Problem("half_squared_error", "identity", 1, {})
    learner = Learner(problem, None, labels, labels, None, 0, 1)

    def made(*errors):
        checks = [Check(k, np.zeros(1), labels[10:] + error) for k, error in enumerate(errors)]
        return Made(Network([1, 1]), History(), checks)

    first, worse, better = made(0.3, 0.5), made(0.4, 0.4), made(0.9, 0.1)
    recipe = Recipe("adamw", (), "identity")
    assert learner.better(recipe, fold, first, worse) is first
    assert learner.better(recipe, fold, first, better) is better
    learner.stopped.set()
    assert learner.better(recipe, fold, first, better) is first


@pytest.mark.parametrize("n_threads", [1, 2])
def test_second_tries_end_where_the_first_of_them_was_in_vain(n_threads, rng, monkeypatch):
    X = rng.normal(size=(120, 2))
    fit_member, tries = Learner.fit_member, []

    def listen(self, recipe, fold, number, threads=1):
        if number < 3:  # bayesian ones may begin again, as others
            tries.append((recipe.learning_rate, number))
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Learner, "fit_member", listen)
    monkeypatch.setattr(Learner, "faults", lambda self, recipe, network: [] if recipe.bayesian else ["idle"])
    monkeypatch.setattr(Learner, "better", lambda self, recipe, fold, first, second: first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Regressor(activation="relu", random_state=0, ensemble=3, max_iter=20, n_threads=n_threads).fit(
            X, np.abs(X[:, 0])
        )
    usual = max(rate for rate, _ in tries)
    assert {number for rate, number in tries if rate == usual} == {0, 1, 2}
    assert {number for rate, number in tries if rate == usual / 10} == {0}


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

    def listen(self, recipes, folds):
        tried.append(recipes)
        return cross_fit(self, recipes, folds)

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


def test_rare_classes_begin_rare(rng):
    """One row in fifty: the probabilities are right on the mean, and the rare ones are found."""
    X = rng.normal(size=(2000, 3))
    y = X[:, 0] + X[:, 1] > 2.9
    model = Classifier(random_state=0, max_iter=30).fit(X[:1500], y[:1500])
    P = model.predict_proba(X[1500:])[:, 1]
    assert P.mean() == pytest.approx(0.0202, abs=0.004)  # of a normal number to lie beyond 2.9 / √2
    assert P[y[1500:]].min() > np.quantile(P[~y[1500:]], 0.95)
    problem, network = Problem("binary_cross_entropy", "sigmoid", 1, {}), Network([3, 1], output="sigmoid")
    problem.begin(network, y[:, None].astype(float))
    assert network.predict(np.zeros((1, 3))) == pytest.approx(y.mean(), rel=0.01)
    balanced = Classifier(random_state=0, max_iter=30, class_weight="balanced").fit(X[:1500], y[:1500])
    assert balanced.predict_proba(X[1500:])[:, 1].mean() > P.mean()


# ---- embeddings --------------------------------------------------------------------------------------------------------


def within(member, inputs):
    """Whether a member's first layer has weights from columns to their own units alone."""
    W, columns = member.network.layers[0].weights, np.array(inputs.groups(member.form))
    units = np.repeat(np.arange(len(inputs.used)), member.form.embedding)
    return not W[units[:, None] != columns].any() and W[units[:, None] == columns].all()


def test_columns_are_embedded(tmp_path):
    """Bins and waves of a number lead to units of its own; so they do after more training, and in a file."""
    X, y = stepped(n=250)
    model = Regressor(random_state=0, max_iter=20).fit(X, y)
    embedded = [m for m in model.ensemble_.members if m.form.embedding]
    assert {m.form for m in embedded} == {Form(32, 16, 8)}
    assert {m.network.sizes for m in embedded} == {(model.inputs_.width(Form(32, 16, 8)), 16, 128, 128, 1)}
    assert embedded[0].network.activations == ("identity", "silu", "silu", "identity")
    assert all(within(m, model.inputs_) for m in embedded)
    assert "32 bins and 16 waves" in model.summary()
    chainrule.save(model, tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    for each in (model, again):
        before = each.ensemble_.members[0].network.parameters.copy()
        each.partial_fit(X, y)
        assert (each.ensemble_.members[0].network.parameters != before).any()
        assert all(within(m, model.inputs_) for m in each.ensemble_.members if m.form.embedding)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("columns", "settled", "expected"),
    [
        (3, {}, [Form(32, 16, 8), FINE]),
        (4, {}, [Form(32, 16, 8)]),
        (40, {}, [Form(32, 16, 4)]),
        (60, {}, [Form(16, 8, 4)]),
        (200, {}, [Form(8, 4, 1)]),
        (300, {}, [Form()]),  # an embedding would have millions of weights, of which it needs few
        (60, {"hidden": (9,)}, [Form(), Form(32)]),
        (60, {"hidden": (200,)}, [Form()]),
        (3, {"hidden": (9,)}, [Form(), Form(32)]),
        (3, {"activation": "tanh"}, [Form(), Form(32)]),
        (3, {"dropout": 0.1}, [Form(), Form(32)]),
        (3, {"epochs": 7}, [Form(32, 16, 8), FINE]),
    ],
)
def test_forms_suit_columns_and_what_is_settled(columns, settled, expected, rng):
    table, described = read_table(rng.normal(size=(500, columns)), "X")
    inputs = Inputs.learn(described, table, "robust")
    problem = Problem("half_squared_error", "identity", 1, {})
    recipes = by_batches(500, inputs, problem, settled)
    assert [recipe.form for recipe in recipes] == expected
    assert all(getattr(recipe, name) == value for recipe in recipes for name, value in settled.items())
    monotone = by_batches(500, inputs, replace(problem, monotone=True), settled)
    units = settled.get("hidden", (128,))[0]
    assert [recipe.form for recipe in monotone] == ([Form(), Form(32)] if 33 * columns * units <= BINNED else [Form()])
    of_classes = by_batches(500, inputs, replace(problem, loss="cross_entropy"), settled)
    assert [recipe.form for recipe in of_classes] == [*expected, Form()]  # the last has few units, for much noise
    of_many = by_batches(1000, inputs, replace(problem, loss="cross_entropy"), settled)
    main = [form for form in expected if form != FINE][-1]
    assert [recipe.form for recipe in of_many] == [*expected, main, Form()]  # and one is for no overlap
    names = names_apart(of_many)
    assert len(set(names)) == len(names)
    assert names[-2].endswith("by adamw (weight decay 0.1)")


def test_what_goes_up_and_down_often_is_learned(tmp_path):
    """Thirty periods in 400 rows: bins and waves that are as wide as a period see none; nearest neighbours err by 0.25."""
    rng = np.random.default_rng(0)
    X = rng.random((2400, 1))
    y = np.sin(60 * np.pi * X[:, 0]) + 0.1 * rng.standard_normal(2400)
    model = Regressor(random_state=0).fit(X[:400], y[:400])
    assert rmse(model, X[400:], y[400:]) < 0.18
    assert "64 bins and 32 fast waves" in recipes(model)[0]
    chainrule.save(model, tmp_path / "m.chain")
    assert np.array_equal(chainrule.load(tmp_path / "m.chain").predict(X), model.predict(X))
    for rows, columns, settled in ((200, 1, {}), (400, 4, {}), (400, 1, {"hidden": (8,)})):
        table, of = read_table(rng.random((rows, columns)), "X")
        problem = Problem("half_squared_error", "identity", 1, {})
        tried = by_batches(rows, Inputs.learn(of, table, "robust"), problem, settled)
        assert not any(recipe.form.speed > 1 for recipe in tried)
    with pytest.raises(ValueError, match="waves x 0"):
        Form.from_json({"speed": 0})


@pytest.mark.parametrize("settled", [{}, {"weight_decay": 0.5}, {"label_smoothing": 0.1}, {"hidden": (9,)}])
def test_recipes_of_one_name_are_told_apart(settled, rng):
    table, described = read_table(rng.normal(size=(1000, 3)), "X")
    problem = Problem("cross_entropy", "softmax", 2, {})
    names = names_apart(by_batches(1000, Inputs.learn(described, table, "robust"), problem, settled))
    assert len(set(names)) == len(names) >= 3


def test_classes_that_do_not_overlap_are_answered_surely(rng):
    """Labels that are smoothed, and a strong pull to 0, would leave a doubt that many rows have settled."""
    X = rng.normal(size=(4000, 4))
    y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    model = Classifier(random_state=0, n_threads=2, ensemble=3).fit(X, y)
    sure = next(choice for choice in model.choice_ if choice["recipe"].endswith("(weight decay 0.1)"))
    assert sure["share"] > 0.5
    few = Classifier(random_state=0, n_threads=2, ensemble=3).fit(X[:300], y[:300])
    assert not any("weight decay" in choice["recipe"] for choice in few.choice_)


# ---- probabilities -----------------------------------------------------------------------------------------------------


def calibration_error(P, y, bins=15):
    """Mean distance of what the most probable class is given from how often it is right, in bins of the former (in %)."""
    sure, right = P.max(axis=1), P.argmax(axis=1) == y
    of = np.minimum((sure * bins).astype(int), bins - 1)
    parts = [(of == k) for k in range(bins) if (of == k).any()]
    return 100 * sum(abs(sure[rows].mean() - right[rows].mean()) * rows.mean() for rows in parts)


def noisy(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, (rng.random(n) < 1 / (1 + np.exp(-2 * np.sin(2 * X[:, 0]) - X[:, 1]))).astype(int)


def test_probabilities_are_those_that_come_true(tmp_path):
    """Judged by so many rows that their own noise is a fifth of what is allowed."""
    X, y = noisy(154_000)
    model = Classifier(random_state=0).fit(X[:4000], y[:4000])
    P = model.predict_proba(X[4000:])
    assert calibration_error(P, y[4000:]) < 1
    assert np.mean(P.argmax(axis=1) == y[4000:]) > 0.74
    chainrule.save(model, tmp_path / "noisy.chain")
    held = chainrule.load(tmp_path / "noisy.chain")
    np.testing.assert_array_equal(held.predict_proba(X[4000:9000]), P[:5000])


@pytest.mark.parametrize("output", ["softmax", "sigmoid", ""])
def test_pools(output, rng):
    """Of one answer itself; of several, for probabilities, the product's root; a temperature draws them to the middle."""
    q = rng.normal(size=(2, 30, 3))
    z = activate(output, q) if output else q
    pool = Pool(output)
    np.testing.assert_allclose(pool.close(q[0]), z[0])
    if output:
        root = np.sqrt(z[0] * z[1])
        others = np.sqrt((1 - z[0]) * (1 - z[1])) + root if output == "sigmoid" else root.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(pool.close(q.mean(axis=0)), root / others)
        cooler = Pool(output, 2.0).close(q[0])
        middle = 0.5 if output == "sigmoid" else 1 / 3
        assert np.abs(cooler - middle).max() < np.abs(z[0] - middle).max()


def test_the_temperature_is_found_on_rows_not_learned_from(rng):
    """Networks that are three times too sure are cooled by half of that, in logarithms."""
    q = rng.normal(size=(4000, 3))
    y = (q + rng.gumbel(size=q.shape)).argmax(axis=1)
    folds = [Fold(np.arange(0), np.arange(2000)), Fold(np.arange(0), np.arange(2000, 4000))]
    problem, labels = Problem("cross_entropy", "softmax", 3, {}), np.eye(3)[y]

    def loss_of(ran, answers):
        return mean_loss(problem, np.concatenate(answers), labels[np.concatenate([fold.aside for fold in ran])], None)

    sure = 3 * q
    trial = Trial(Recipe("adamw", (), "identity"), folds, answers=[sure[:2000], sure[2000:]], loss=1.0)
    loss, pool, _, _ = choose_shares([trial], loss_of, Pool("softmax"))
    assert trial.share == 1
    assert loss == pytest.approx(loss_of(folds, [sure]))
    assert pool.temperature == pytest.approx(np.sqrt(3), rel=0.05)


# ---- categories of many classes ----------------------------------------------------------------------------------------


def cities(rng, n, classes=200):
    """What a city adds is known from its rows alone."""
    city = rng.choice(classes, n, p=rng.dirichlet(np.ones(classes)))
    X = rng.normal(size=n)
    effect = np.random.default_rng(5).normal(size=classes)
    frame = pd.DataFrame({"x": X, "city": np.array([f"c{k:03}" for k in range(classes)])[city]})
    return frame, np.sin(2 * X) + 2 * effect[city] + 0.1 * rng.normal(size=n)


def test_each_of_many_classes_is_embedded(rng, tmp_path):
    frame, y = cities(rng, 1700)
    model = Regressor(random_state=0, max_iter=40, n_threads=2, ensemble=4).fit(frame[:1500], y[:1500])
    column = model.inputs_.columns[1]
    counts = frame["city"][:1500].value_counts()
    assert column.own == list(range(len(counts)))
    assert not column.shared
    test, truth = frame[1500:], y[1500:]
    often = test["city"].map(counts).fillna(0) >= 10
    assert np.sqrt(np.mean((model.predict(test) - truth)[often] ** 2)) < 0.5
    chainrule.save(model, tmp_path / "cities.chain")
    np.testing.assert_array_equal(chainrule.load(tmp_path / "cities.chain").predict(test), model.predict(test))
    assert np.isfinite(model.predict(pd.DataFrame({"x": [0.0], "city": ["nowhere"]}))).all()


def test_names_are_no_classes(rng):
    """What each row has for itself says nothing of others; a name never seen is answered as one that was."""
    X = rng.normal(size=(300, 2))
    frame = pd.DataFrame({"x": X[:, 0], "z": X[:, 1], "name": [f"n{i}" for i in range(300)]})
    frame.loc[:30, "name"] = "Smith"
    model = Regressor(random_state=0, max_iter=40, n_threads=2).fit(frame, X[:, 0] + X[:, 1] ** 2)
    column = model.inputs_.columns[2]
    assert [column.classes[k] for k in column.own] == ["Smith"]
    assert column.shared
    new, known = (model.predict(pd.DataFrame({"x": [0.0], "z": [1.0], "name": [name]})) for name in ("n", "n200"))
    np.testing.assert_array_equal(new, known)
    assert new == pytest.approx(1.0, abs=0.2)


@pytest.mark.filterwarnings("ignore:the networks are worse than a linear model")  # after three epochs
def test_of_too_many_classes_the_rarest_share_a_column(rng, monkeypatch):
    monkeypatch.setattr("chainrule.inputs.MOST_CLASSES", 70)
    frame, y = cities(rng, 1500)
    column = Regressor(random_state=0, max_iter=3, ensemble=2).fit(frame, y).inputs_.columns[1]
    counts = frame["city"].value_counts()
    assert len(column.own) == 70
    assert column.shared
    assert min(counts[column.classes[k]] for k in column.own) >= counts.iloc[70]


def test_of_few_classes_each_has_a_column(rng):
    frame, y = cities(rng, 60, classes=20)
    column = Regressor(random_state=0, max_iter=3, ensemble=2).fit(frame, y).inputs_.columns[1]
    assert column.own == list(range(len(column.classes)))
    assert not column.shared
