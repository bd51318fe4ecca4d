"""Which recipes suit a table: widths, forms, bends; and what is learned by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

import chainrule
from chainrule import Classifier, Network, Regressor
from chainrule.auto.planning import Plan, better_plan, choose_widths
from chainrule.auto.recipes import BINNED, ENCODED, FINE, WIDTHS, Recipe, by_batches, by_evidence, names_apart
from chainrule.auto.task import Task
from chainrule.auto.trainer import Trainer
from chainrule.auto.trials import Check, Fold, Made
from chainrule.evidence import Evidence
from chainrule.inputs import Form, Inputs
from chainrule.problem import Problem
from chainrule.tables import read_table
from chainrule.training import History
from conftest import recipes_used, rmse, smooth, stepped

SQUARES = Problem("half_squared_error", "identity", 1, {})


def test_smooth_functions_are_learned_by_evidence():
    model = Regressor(random_state=0).fit(*smooth())
    assert rmse(model, *smooth(seed=1)) < 0.005
    assert "bayesian" in recipes_used(model)[0]
    assert "bayesian" in model.summary()


def test_steps_are_learned_on_bins():
    model = Regressor(random_state=0).fit(*stepped())
    assert rmse(model, *stepped(seed=1)) < 0.2
    assert "bins" in recipes_used(model)[0]


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


def test_nothing_is_done_to_a_table_where_images_are_not_to_be_distorted():
    X, y = smooth()
    assert "bayesian" in Regressor(random_state=0, augment=None).fit(X, y).summary()


@pytest.mark.parametrize(("best", "asked"), [((5,), 4), ((10,), 4), ((20,), 6), ((8, 8), 6)])
def test_the_widest_are_tried_where_wider_is_better(best, asked, monkeypatch):
    logs = {(5,): 1.0, (10,): 2.0, (20,): 1.5, (8, 8): 0.5, (40,): 3.0, (16, 16): 1.0} | {best: 2.5}
    tried = []

    def all_of(self, jobs, ahead=()):
        tried.extend(recipe.hidden for recipe, _, _ in jobs if recipe.bayesian)
        evidence = [Evidence(logs.get(recipe.hidden, 0.0), 1.0, np.ones(1), np.ones(1)) for recipe, _, _ in jobs]
        checks = [[Check(1, np.zeros(2), np.ones((10, 1)))] for _ in jobs]
        return [Made(Network([1, 1]), History(evidence=heard), of) for heard, of in zip(evidence, checks, strict=True)]

    monkeypatch.setattr(Trainer, "all_of", all_of)
    labels = np.zeros((20, 1))
    trainer = Trainer(Task(SQUARES, None, labels, labels))
    fold, ways = Fold(np.arange(10), np.arange(10, 20)), [[Recipe("bayesian", hidden, "tanh") for hidden in WIDTHS]]
    (chosen,), _ = choose_widths(trainer, ways, fold, [[Recipe("adamw", (64,), "silu")]])
    assert len(set(tried)) == asked
    assert len(tried) == 2 * asked
    assert [recipe.hidden for recipe in chosen] == (
        [(64,), (40,), best] if asked == 6 else [(64,), best, *{(5,): [(10,)], (10,): [(20,)]}[best]]
    )
    assert {number for _, number in trainer.known} == {0}


def trainer_of_answers(monkeypatch, answer):
    """A trainer, of zeros, whose networks answer ten rows by answer(recipe), all of the same evidence."""

    def all_of(self, jobs, ahead=()):
        heard = Evidence(0.0, 1.0, np.ones(1), np.ones(1))
        answers = [np.full((10, 1), answer(recipe)) for recipe, _, _ in jobs]
        return [Made(Network([1, 1]), History(evidence=heard), [Check(1, np.zeros(2), z)]) for z in answers]

    monkeypatch.setattr(Trainer, "all_of", all_of)
    labels = np.zeros((20, 1))
    return Trainer(Task(SQUARES, None, labels, labels))


@pytest.mark.parametrize(
    ("bent", "left"), [(1.0, ["", "log"]), (1.4, ["", "log"]), (1.5, [""]), (0.7, ["log"]), (np.nan, [""])]
)
def test_a_way_that_is_far_worse_after_short_trainings_is_left(bent, left, monkeypatch):
    """The loss is half the square of the answer, 1 where labels are as they are."""
    trainer = trainer_of_answers(monkeypatch, lambda recipe: bent if recipe.bend else 1.0)
    heard = [[Recipe("bayesian", (n,), "tanh", bend=bend) for n in (5, 10)] for bend in ("", "log")]
    large = [[Recipe("adamw", (64,), "silu", bend=bend)] for bend in ("", "log")]
    ways, _ = choose_widths(trainer, heard, Fold(np.arange(10), np.arange(10, 20)), large)
    assert [{recipe.bend for recipe in recipes} for recipes in ways] == [{bend} for bend in left]
    assert all(len(recipes) == 3 for recipes in ways)


@pytest.mark.parametrize(("bent", "chosen"), [(2.0, ""), (0.5, "log"), (0.99, "")])
def test_what_is_likely_is_of_the_plan_that_is_better_so_far(bent, chosen, monkeypatch):
    """As its large recipe, trained already, has it: so that what is trained ahead is not in vain."""
    trainer = trainer_of_answers(monkeypatch, lambda recipe: bent if recipe.bend else 1.0)
    answered, ahead = Trainer.all_of, []
    monkeypatch.setattr(Trainer, "all_of", lambda self, jobs, likely: ahead.extend(likely) or answered(self, jobs))
    folds = [Fold(np.arange(10), np.arange(10, 20)), Fold(np.arange(10, 20), np.arange(10))]
    plans = [
        Plan([Recipe("adamw", (64,), "silu", bend=b), Recipe("bayesian", (5,), "tanh", bend=b)]) for b in ("", "log")
    ]
    for plan in plans:
        trainer.known[plan.recipes[0], 0] = answered(trainer, [(plan.recipes[0], folds[0], 0)])[0]
    assert better_plan(trainer, plans, folds).recipes[0].bend == chosen
    assert [recipe.bend for recipe, _, _ in ahead] == [chosen]


@pytest.mark.parametrize(("costly", "error", "wanted"), [(True, 0.1, (10,)), (True, 3.0, (64,)), (False, 0.1, (64,))])
def test_what_is_trained_ahead(costly, error, wanted, monkeypatch):
    """The costly recipe that was better even in a short training, else the first of mini-batches."""
    trainer = trainer_of_answers(monkeypatch, lambda recipe: error if recipe.bayesian else 1.0)
    folds = [Fold(np.arange(10), np.arange(10, 20)), Fold(np.arange(10, 20), np.arange(10))]
    heard, large = Recipe("bayesian", (10,), "tanh", costly=costly), Recipe("adamw", (64,), "silu")
    (recipes,), best = choose_widths(trainer, [[heard]], folds[0], [[large]])
    (ahead,) = Plan(recipes, best).likely(folds)
    assert (ahead[0].hidden, ahead[2]) == (wanted, 1)


def test_very_large_tables_are_encoded_with_less():
    """The numbers that a table becomes are to fit into memory."""
    table = np.random.default_rng(0).normal(size=(500, 20))
    table, described = read_table(table, "X")
    inputs = Inputs.learn(described, table, "robust")
    widths = []
    for rows in (1000, 1_000_000, 10_000_000):
        form = by_batches(rows, inputs, SQUARES, {})[0].form
        assert rows * inputs.width(form) <= max(ENCODED, rows * 20)
        widths.append(inputs.width(form))
    assert widths[0] > widths[1] > widths[2] == 20
    assert [r.form.bins for r in by_batches(10_000_000, inputs, SQUARES, {"hidden": (5,)})] == [0]


def test_bayesian_recipes_suit_the_rows():
    few, many = by_evidence(60, 4, SQUARES, {}), by_evidence(3000, 4, SQUARES, {})
    assert few[0].hidden == many[0].hidden == (5,)
    assert len(few) < len(many)
    assert [recipe.hidden for recipe in by_evidence(26, 3, SQUARES, {})] == [(5,), (10,)]  # of 26 and 51 parameters
    assert (40,) not in [recipe.hidden for recipe in by_evidence(200, 3, SQUARES, {})]
    assert by_evidence(1_000_000, 50, SQUARES, {}) == []
    assert by_evidence(100, 4, Problem("huber", "identity", 1, {}), {}) == []
    assert by_evidence(100, 4, SQUARES, {"dropout": 0.1}) == []


def test_where_rows_are_few_several_networks_begin():
    """As many as is affordable: six, three, and one where each takes long."""
    starts = {rows: {r.hidden: r.starts for r in by_evidence(rows, 4, SQUARES, {})} for rows in (100, 400, 5000)}
    assert set(starts[100].values()) == {6}
    assert starts[400][5,] == 3
    assert starts[400][40,] == 1
    assert set(starts[5000].values()) == {1}


def test_few_rows_of_five_inputs():
    """Friedman's function without noise: where each fold's network began once, most ended in poor minima (error 0.07)."""
    errors = []
    for seed in range(2):
        X = np.random.default_rng(seed).random((1080, 5))
        y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
        errors.append(rmse(Regressor(random_state=seed).fit(X[:80], y[:80]), X[80:], y[80:]) / y.std())
    assert max(errors) < 0.03


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
    assert {m.network.sizes for m in embedded} == {(model.inputs_.width(Form(32, 16, 8)), 16, 96, 96, 1)}
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
    recipes = by_batches(500, inputs, SQUARES, settled)
    assert [recipe.form for recipe in recipes] == expected
    assert all(getattr(recipe, name) == value for recipe in recipes for name, value in settled.items())
    monotone = by_batches(500, inputs, replace(SQUARES, monotone=True), settled)
    units = settled.get("hidden", (96,))[0]
    assert [recipe.form for recipe in monotone] == ([Form(), Form(32)] if 33 * columns * units <= BINNED else [Form()])
    of_classes = by_batches(500, inputs, replace(SQUARES, loss="cross_entropy"), settled)
    assert [recipe.form for recipe in of_classes] == [*expected, Form()]  # the last has few units, for much noise
    of_many = by_batches(1000, inputs, replace(SQUARES, loss="cross_entropy"), settled)
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
    assert "64 bins and 32 fast waves" in recipes_used(model)[0]
    chainrule.save(model, tmp_path / "m.chain")
    assert np.array_equal(chainrule.load(tmp_path / "m.chain").predict(X), model.predict(X))
    for rows, columns, settled in ((200, 1, {}), (400, 4, {}), (400, 1, {"hidden": (8,)})):
        table, of = read_table(rng.random((rows, columns)), "X")
        tried = by_batches(rows, Inputs.learn(of, table, "robust"), SQUARES, settled)
        assert not any(recipe.form.speed > 1 for recipe in tried)
    with pytest.raises(ValueError, match="waves x 0"):
        Form.from_json({"speed": 0})


@pytest.mark.parametrize(
    ("rows", "hidden"),
    [(511, (96,) * 2), (512, (128,) * 2), (2500, (128,) * 3), (20_000, (256,) * 3)],
)
def test_networks_grow_with_rows(rows, hidden):
    assert by_batches(rows, None, SQUARES, {})[0].hidden == hidden


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
