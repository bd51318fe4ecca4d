"""Networks are trained several at a time, each to be ready when time is up, with equal bits on any number of threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import chainrule
from chainrule import Classifier, Network, Regressor
from chainrule.auto.jobs import Queue
from chainrule.auto.pace import Clock, Pace
from chainrule.auto.recipes import DEAFER, FIRST, Recipe
from chainrule.auto.task import Task
from chainrule.auto.trainer import LONG, SHARED, Trainer
from chainrule.auto.trials import Check, Fold, Made
from chainrule.evidence import DEAF, Evidence
from chainrule.inputs import Inputs
from chainrule.problem import Problem
from chainrule.tables import read_table
from chainrule.training import History, train
from conftest import rmse, smooth, stepped

SQUARES = Problem("half_squared_error", "identity", 1, {})


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


def test_each_network_is_trained_once(monkeypatch, capsys):
    """What is trained ahead is not trained again, nor said again: of targets that are bent, it may be likely twice."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = np.exp(3 * np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2])
    fit_member, trained = Trainer.fit_member, []

    def noted(self, recipe, fold, number, threads=1):
        trained.append((recipe, number))
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Trainer, "fit_member", noted)
    Regressor(random_state=0, n_threads=2, verbose=True).fit(X, y)
    assert len(trained) == len(set(trained)) == len(capsys.readouterr().out.splitlines())


def test_what_was_trained_ahead_is_not_trained_ahead_again(monkeypatch):
    X, y = smooth(60)
    fold = Fold(np.arange(50), np.arange(50, 60))
    recipe = Recipe("adamw", (4,), "tanh", epochs=2)
    trainer, trained, fit_member = Trainer(Task(SQUARES, None, X, y[:, None]), 2), [], Trainer.fit_member

    def slow(self, recipe, fold, number, threads=1):
        trained.append(number)
        time.sleep(0.2)  # so the other core takes what is ahead
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Trainer, "fit_member", slow)
    for number in (0, 2):
        trainer.all_of([(recipe, fold, number)], [(recipe, fold, 1)])
    assert sorted(trained) == [0, 1, 2]


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
    monkeypatch.setattr(Trainer, "epoch_of", lambda self, recipe, fold, threads: 0.01 * len(self.task.table))
    for settled, one_in in (({}, 5), ({"epochs": 3}, 1)):
        trainer = Trainer(Task(problem, inputs, table, classes[:, None], np.arange(12_000.0), fixed=settled))
        trainer.take_fewer(classes)
        assert len(trainer.task.table) == 12_000
        trainer.clock.deadline = time.perf_counter() + 1800
        trainer.take_fewer(classes)
        task, clock = trainer.task, trainer.clock
        rows = task.weight.astype(int)
        assert len(rows) == 12_000 / clock.one_in
        assert abs(clock.one_in - one_in) <= 1
        assert abs(task.labels.sum() - 600 / clock.one_in) <= 1
        np.testing.assert_array_equal(task.table, table[rows])
        assert clock.hurried == (one_in > 1)


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
    monkeypatch.setattr(Trainer, "epoch_of", lambda self, recipe, fold, threads: seconds[recipe.activation])
    monkeypatch.setattr("chainrule.auto.pace.time.perf_counter", lambda: 1000.0)
    labels, fold = np.zeros((20_000, 1)), Fold(np.arange(20_000), np.arange(1))
    silu, tanh, relu = (Recipe("adamw", (9,), activation, epochs=100) for activation in seconds)
    heard = Recipe("bayesian", (5,), "tanh")
    jobs = [(recipe, fold, 0) for recipe in (silu, tanh, heard)]

    def paced(left, *of, n_threads=2, part=0.8, **fixed):
        trainer = Trainer(Task(SQUARES, None, labels, labels, fixed=fixed), n_threads, Clock(1000.0 + left))
        for some in of:
            trainer.set_paces(some, part)
        return trainer.clock, [trainer.clock.pace(recipe) for recipe in (silu, tanh, relu, heard)]

    rest = Pace(100), Pace(heard.epochs)
    assert paced(np.inf, jobs)[1] == [Pace(100), Pace(100), *rest]
    assert paced(100, jobs)[1] == [Pace(40), Pace(40), *rest], "the longest takes 80 of 100 seconds"
    assert paced(100, jobs, n_threads=1)[1] == [Pace(32), Pace(32), *rest], "100 x 2.5 seconds"
    assert paced(100, jobs, part=0.2)[1] == [Pace(10), Pace(10), *rest]
    assert paced(1, jobs)[1] == [Pace(1, 3), Pace(1, 3), *rest]
    assert paced(1e-9, jobs)[1] == [Pace(1, 9), Pace(1, 9), *rest], "some 2,000 rows in any case"
    assert paced(100, jobs, epochs=100)[1] == [Pace(100), Pace(100), *rest], "as the user has settled"
    clock, paces = paced(100, jobs, [*jobs, (relu, fold, 0)])
    assert paces == [Pace(40), Pace(40), Pace(80), Pace(heard.epochs)]
    assert clock.pace(replace(silu, learning_rate=silu.learning_rate / 10)) == Pace(40)
    clock.took[silu] = 101.0  # of one thread
    assert clock.too_long(silu, 1)
    assert not clock.too_long(silu, 2)
    assert not clock.too_long(relu, 1)


def test_how_long_an_epoch_takes(monkeypatch):
    """By the second of some rows; a network is also looked at, and Ctrl-C may come."""
    asked = []

    def train(self, network, recipe, kept, number, look, threads):
        asked.append((recipe.epochs, len(kept), threads))
        return History(seconds=list(seconds))

    monkeypatch.setattr(Trainer, "train", train)
    labels = np.zeros((9192, 1))
    trainer = Trainer(Task(SQUARES, None, labels, labels), 2)
    recipe, fold = Recipe("adamw", (), "identity", epochs=200), Fold(np.arange(8192), np.arange(8192, 9192))
    seconds = [9.0, 2.0]
    assert trainer.epoch_of(recipe, fold, 2) == pytest.approx(2 * (4 + 0.1 * 1000 / 3 / 2048))
    assert asked == [(2, 2048, 2)]
    seconds = []
    assert trainer.epoch_of(recipe, fold, 2) == np.inf
    trainer.clock.stopped.set()
    assert trainer.epoch_of(recipe, fold, 2) == np.inf
    assert len(asked) == 2


def test_a_table_in_little_time(tmp_path, monkeypatch):
    """A training that would be cut short has fewer epochs from the start; one whose epochs are settled has not."""
    X, y = smooth(3000)
    monkeypatch.setattr(Trainer, "epoch_of", lambda self, recipe, fold, threads: 0.02)
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


def test_a_validation_set_is_there_whatever_order_rows_come_in(monkeypatch):
    """Of one row in some there are all kinds, though they come by turns."""
    X = np.random.default_rng(0).normal(size=(9600, 2))
    y = np.arange(9600) % 2
    X[:, 0] += 4 * y
    monkeypatch.setattr(Trainer, "epoch_of", lambda self, recipe, fold, threads: 1e3)
    model = Classifier(time_limit=3.0, random_state=0).fit(X[:8192], y[:8192], X_val=X[8192:], y_val=y[8192:])
    assert "one row in 4" in model.summary()
    assert model.score(X[8192:], y[8192:]) > 0.9


def test_time_is_up_in_the_midst_of_the_networks(monkeypatch):
    """What is begun when there is too little time left is not there in the end, nor what would take too long."""
    X, y = smooth(400)
    clock = [0.0]
    train_recipe = Recipe.train

    def train_slowly(self, *arguments):
        *rest, look, threads = arguments

        def look_later(history):
            clock[0] += 1.0  # a second from look to look
            return look(history)

        return train_recipe(self, *rest, look_later, threads)

    monkeypatch.setattr(Recipe, "train", train_slowly)
    monkeypatch.setattr("chainrule.auto.pace.time.perf_counter", lambda: clock[0])
    model = Regressor(
        (8,), activation="tanh", max_iter=20, learning_rate="constant", ensemble=8, time_limit=150, n_threads=1,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    most = max(model.choice_, key=lambda chosen: chosen["networks"])
    assert 3 <= most["networks"] < 8
    assert len(model.validation_curve_) == 20, "all looks are there"
    assert clock[0] <= 150 + 1, "what is under way ends at its next look"
    assert model.hurried_


@pytest.mark.parametrize(("cores", "alone"), [(1, 0), (2, 1), (3, 0), (8, 3)])
def test_costly_trainings_leave_no_core_idle(cores, alone, monkeypatch):
    """What of three costly ones does not come out even has all cores, before the others; the answers are in order."""
    begun = []

    def fit_member(self, recipe, fold, number, threads=1):
        begun.append((recipe.costly, threads))
        return Made(number, None, [])

    monkeypatch.setattr(Trainer, "fit_member", fit_member)
    fold, trainer = (
        Fold(np.arange(2), np.arange(1)),
        Trainer(Task(SQUARES, None, np.ones((3, 1)), np.ones((3, 1))), cores),
    )
    costly, cheap = (Recipe("bayesian", (5,), "tanh", costly=costly) for costly in (True, False))
    jobs = [(recipe, fold, number) for number in range(3) for recipe in (cheap, costly)]
    assert [made.network for made in trainer.all_of(jobs)] == [0, 0, 1, 1, 2, 2]
    assert [threads for _, threads in begun[:alone]] == [cores // alone] * alone if alone else True
    assert [threads for _, threads in begun[alone:]] == [max(1, cores // (6 - alone))] * (6 - alone)
    assert all(is_costly for is_costly, _ in begun[:alone])

    large = Recipe("adamw", (5,), "tanh", batch_size=SHARED)
    monkeypatch.setattr(Trainer, "faults", lambda self, recipe, made: [])
    for beside, rows, first in (([], 3, alone), ([(cheap, fold, 0)], 3, 0), ([(cheap, fold, 0)], LONG, alone)):
        begun.clear()
        trainer.task.table = np.ones((rows, 1))
        trainer.all_of([*((large, fold, number) for number in range(3)), *beside])
        assert [threads for _, threads in begun[:first]] == [cores // first] * first if first else True
        rest = 3 + len(beside) - first
        assert [threads for _, threads in begun[first:]] == [max(1, cores // max(rest, 1))] * rest


def test_one_network_at_a_time_has_a_copy_of_a_very_large_table(monkeypatch):
    """By all cores, and nothing of it ahead of the time; the bits are the same."""
    running, most = [], []
    fit_member = Trainer.fit_member

    def counted(self, recipe, fold, number, threads=1):
        running.append(recipe)
        most.append((len(running), threads, recipe.form.bins > 0))
        made = fit_member(self, recipe, fold, number, threads)
        running.remove(recipe)
        return made

    monkeypatch.setattr(Trainer, "fit_member", counted)
    X, y = stepped(200)
    model = Regressor(random_state=0, ensemble=3, max_iter=5, n_threads=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        plain = model.fit(X, y).predict(X)
        most.clear()
        monkeypatch.setattr("chainrule.auto.trainer.HEAVY", 1000)
        np.testing.assert_array_equal(model.fit(X, y).predict(X), plain)
    heavy = [(count, threads) for count, threads, binned in most if binned]
    assert set(heavy) == {(1, 2)}
    assert len(heavy) >= 3


def test_of_several_that_begin_the_best_goes_on(monkeypatch):
    """That whose evidence is the largest; it is looked for once, and every other one listens later."""
    asked = []

    def train(self, network, recipe, kept, number, look, threads):
        asked.append((number, recipe.epochs, recipe.deaf))
        return History(evidence=Evidence(-float(abs(number - 2005)), 1.0, np.ones(1), np.ones(1)))

    monkeypatch.setattr(Trainer, "train", train)
    labels = np.zeros((20, 1))
    trainer = Trainer(Task(SQUARES, None, labels, labels))
    recipe = Recipe("bayesian", (3,), "tanh", starts=4)
    for epochs in (40, 200):
        network, chosen, history = trainer.begin(replace(recipe, epochs=epochs), np.arange(20), 5, 1)
        np.testing.assert_array_equal(network.parameters, trainer.task.begin(recipe, np.arange(20), 2005).parameters)
        assert (chosen.epochs, chosen.deaf, history) == (epochs, DEAF, None)
    assert asked == [(5, FIRST, DEAF), (1005, FIRST, DEAFER), (2005, FIRST, DEAF), (3005, FIRST, DEAFER)]
    trainer.begin(replace(recipe, epochs=7), np.arange(20), 0, 1)
    assert {epochs for _, epochs, _ in asked[4:]} == {7}, "what the user has settled"


def test_when_time_is_up_among_several_that_begin_the_best_so_far_answers(monkeypatch):
    """And is not taken for one whose training is whole."""
    labels, logs = np.zeros((20, 1)), {5: -3.0, 1005: -1.0, 2005: -2.0}
    trainer = Trainer(Task(SQUARES, None, labels, labels))

    def train(self, network, recipe, kept, number, look, threads):
        if number == 2005:
            trainer.clock.stopped.set()
        heard = Evidence(logs[number], 1.0, np.ones(1), np.ones(1))
        return History(loss=[0.0] * recipe.epochs, evidence=heard)

    monkeypatch.setattr(Trainer, "train", train)
    made = trainer.fit_member(Recipe("bayesian", (3,), "tanh", starts=4), Fold(np.arange(20), np.arange(3)), 5)
    assert (made.history.evidence.log, made.history.epochs, made.whole) == (-1.0, FIRST, False)
    expected = trainer.task.begin(Recipe("bayesian", (3,), "tanh"), np.arange(20), 1005).parameters
    np.testing.assert_array_equal(made.network.parameters, expected)


def test_ctrl_c_between_two_trainings(monkeypatch):
    """On one thread it is heard there, too: what answers is what was learned."""
    X, y = smooth(60)
    asked, encode = [], Task.begin

    def pressed(self, *given):
        asked.append(1)
        if len(asked) == 20:
            raise KeyboardInterrupt
        return encode(self, *given)

    monkeypatch.setattr(Task, "begin", pressed)
    with pytest.warns(UserWarning, match="interrupted"):
        model = Regressor(random_state=0, n_threads=1).fit(X, y)
    assert rmse(model, X, y) < 0.5 * np.std(y)


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

        monkeypatch.setattr("chainrule.auto.recipes.train", interrupted)
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

    monkeypatch.setattr("chainrule.auto.pace.Clock.late", interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model = Regressor(random_state=0, n_threads=1).fit(X, y)
    assert rmse(model, X, y) < 0.5 * np.std(y)


def test_ctrl_c_is_heard_where_a_lock_is_not():
    """Some packages, as polars, hear of it first; then a wait without end does not. It is pressed amid training."""
    program = (
        "import signal, threading, time\n"
        "import numpy as np\n"
        "import polars\n"
        "from chainrule import Regressor\n"
        "from chainrule.auto import trainer\n"
        "X = np.random.default_rng(0).normal(size=(50_000, 10))\n"
        "begin = trainer.work_off\n"
        "def press(*jobs):\n"
        "    trainer.work_off = begin\n"
        "    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()\n"
        "    begin(*jobs)\n"
        "trainer.work_off = press\n"
        "started = time.perf_counter()\n"
        "Regressor(random_state=0, n_threads=2).fit(X, X[:, 0] * X[:, 1])\n"
        "print(time.perf_counter() - started)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5


def test_as_many_threads_as_are_free(monkeypatch):
    """All cores by default, those that joblib leaves to a worker, or what was asked for; a named solver takes one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Regressor()._threads == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Regressor()._threads == 1
    assert Regressor(n_threads=3)._threads == 3
    assert Regressor(solver="adam")._threads == 1


def test_divergence_is_tried_again_with_smaller_steps(rng, monkeypatch):
    X, y = rng.normal(size=(300, 2)), rng.normal(size=300)
    rates = []
    fit_member = Trainer.fit_member

    def diverging(self, recipe, fold, number, threads=1):
        if recipe.solver == "adamw":
            rates.append(recipe.learning_rate)
        if recipe.solver == "adamw" and recipe.learning_rate > 0.005:
            raise FloatingPointError
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Trainer, "fit_member", diverging)
    how = {"random_state": 0, "n_threads": 1, "ensemble": 2, "max_iter": 30}
    model = Regressor(**how).fit(X, X[:, 0] + 0.01 * y)
    assert model.score(X, X[:, 0]) > 0.9
    assert min(rates) == pytest.approx(max(rates) / 10)
    with pytest.raises(FloatingPointError, match="no network learned anything finite"):
        Regressor(learning_rate_init=1.0, **how).fit(X, y)
    assert min(rates[-4:]) == 1.0, "what the user has settled stays"


def test_a_second_try_is_kept_where_it_answers_better(rng):
    """At the best time of each, unless time is up."""
    labels = rng.normal(size=(20, 1))
    fold = Fold(np.arange(10), np.arange(10, 20))
    trainer = Trainer(Task(SQUARES, None, labels, labels))

    def made(*errors):
        checks = [Check(k, np.zeros(1), labels[10:] + error) for k, error in enumerate(errors)]
        return Made(Network([1, 1]), History(), checks)

    first, worse, better = made(0.3, 0.5), made(0.4, 0.4), made(0.9, 0.1)
    recipe = Recipe("adamw", (), "identity")
    assert trainer.better(recipe, fold, first, worse) is first
    assert trainer.better(recipe, fold, first, better) is better
    trainer.clock.stopped.set()
    assert trainer.better(recipe, fold, first, better) is first


@pytest.mark.parametrize("n_threads", [1, 2])
def test_second_tries_end_where_the_first_of_them_was_in_vain(n_threads, rng, monkeypatch):
    X = rng.normal(size=(120, 2))
    fit_member, tries = Trainer.fit_member, []

    def listen(self, recipe, fold, number, threads=1):
        if number < 3:  # bayesian ones may begin again, as others
            tries.append((recipe.learning_rate, number))
        return fit_member(self, recipe, fold, number, threads)

    monkeypatch.setattr(Trainer, "fit_member", listen)
    monkeypatch.setattr(Trainer, "faults", lambda self, recipe, network: [] if recipe.bayesian else ["idle"])
    monkeypatch.setattr(Trainer, "better", lambda self, recipe, fold, first, second: first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Regressor(activation="relu", random_state=0, ensemble=3, max_iter=20, n_threads=n_threads).fit(
            X, np.abs(X[:, 0])
        )
    usual = max(rate for rate, _ in tries)
    assert {number for rate, number in tries if rate == usual} == {0, 1, 2}
    assert {number for rate, number in tries if rate == usual / 10} == {0}
