"""What the estimators choose for themselves: folds, shares, pools; that it is seen, honoured and repeatable."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning

import chainrule
from chainrule import Classifier, Network, Regressor
from chainrule.auto.learner import Learner
from chainrule.auto.planning import Plan
from chainrule.auto.recipes import Recipe
from chainrule.auto.task import Task, originals
from chainrule.auto.trainer import OF_ALL, Trainer
from chainrule.auto.trials import Check, Fold, Made, Trial, choose_shares, make_folds
from chainrule.data import DataError
from chainrule.ensemble import Ensemble, Member, Pool
from chainrule.evidence import Evidence
from chainrule.functions import activate
from chainrule.inputs import Inputs
from chainrule.problem import Problem, quantile
from chainrule.training import History
from conftest import rmse, smooth, stepped

SQUARES = Problem("half_squared_error", "identity", 1, {})


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
    task = Task(SQUARES, None, np.zeros((6, 1)), np.arange(6.0)[:, None])

    def trial(order, slip):
        made = [
            Made(Network([1, 1]), History(), [Check(1, np.zeros(2), task.labels[folds[k].aside] + slip)]) for k in order
        ]
        found = Trial(Recipe("adamw", (), "identity", epochs=1 + len(order)), [folds[k] for k in order], made)
        found.sort(folds)
        found.settle(task.loss_of)
        return found

    right, wrong = trial([2, 0, 1], 0.0), trial([0, 1, 2], 1.0)
    choice = choose_shares([right, wrong], task.loss_of, Pool())
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
        other = Regressor(max_iter=20, random_state=0, **change).fit(X, y)
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
        r"\d networks, tanh \S+ by bayesian \(mean loss \S+ before training on all rows\), on rows not learned from; "
        r"the others: silu 96-96 ",
        said,
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

    monkeypatch.setattr(Trainer, "all_of", all_of)
    learner = Learner(Trainer(Task(SQUARES, None, labels, labels)))
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

    monkeypatch.setattr(Trainer, "all_of", all_of)
    learner = Learner(Trainer(Task(SQUARES, None, labels, labels)))
    trials = learner.cross_fit(Plan([first, second]), folds)
    assert [len(trial.made) for trial in trials] == [4, shares]


def test_of_few_rows_all_are_learned_from_in_the_end(monkeypatch):
    """By bayesian networks, which need none set aside; those that judged stay where there are more, or time is up."""
    X, y = smooth(240)

    def learned(rows, **fit):
        model = Regressor((5,), activation="tanh", max_iter=30, ensemble=3, random_state=0).fit(
            X[:rows], y[:rows], **fit
        )
        (best, *_) = sorted(model.choice_, key=lambda c: -c["share"])
        assert "bayesian" in best["recipe"]
        assert ("before training on all rows" in model.summary()) == (best.get("rows") == "all")
        return model, best.get("rows")

    model, rows = learned(100)
    assert rows == "all"
    assert model.history_.validation == [max(model.choice_, key=lambda c: c["share"])["loss"]]
    task = Task(SQUARES, model.inputs_, X[:100], model._labels(y[:100]))
    trainer = Trainer(task)
    for k, member in enumerate(model.ensemble_.members):
        recipe = Recipe("bayesian", (5,), "tanh", epochs=30, starts=6)
        own = trainer.fit_member(recipe, Fold(np.arange(100), np.arange(1)), OF_ALL + k)
        np.testing.assert_array_equal(member.network.parameters, own.network.parameters)
    assert learned(225)[1] == "all", "each was judged by 75 and learned from 150"
    assert learned(228)[1] is None
    assert learned(100, X_val=X[100:], y_val=y[100:])[1] is None
    late = Learner.learn_all

    def when_time_is_up(self, trial):
        self.trainer.clock.deadline = 0.0
        late(self, trial)

    monkeypatch.setattr(Learner, "learn_all", when_time_is_up)
    model, rows = learned(100)
    assert rows is None
    assert not model.hurried_, "nothing is missing"
    with pytest.warns(ConvergenceWarning, match="no network found"):  # is said all the same
        Regressor((5,), activation="tanh", max_iter=30, ensemble=3, random_state=0).fit(X[:60], np.arange(60) % 7)


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
        return problem.mean_loss(np.concatenate(answers), labels[np.concatenate([fold.aside for fold in ran])], None)

    sure = 3 * q
    trial = Trial(Recipe("adamw", (), "identity"), folds, answers=[sure[:2000], sure[2000:]], loss=1.0)
    loss, pool, _, _ = choose_shares([trial], loss_of, Pool("softmax"))
    assert trial.share == 1
    assert loss == pytest.approx(loss_of(folds, [sure]))
    assert pool.temperature == pytest.approx(np.sqrt(3), rel=0.05)
