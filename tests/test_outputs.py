"""What goes out: model files, and the command line as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_iris

import chainrule
from chainrule import Classifier, Network, Regressor, export
from chainrule.cli import main
from chainrule.data import DataError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)


NAMES = np.array(["setosa", "versicolor", "virginica"])
MODELS = {
    "network": lambda: Network([4, 5, 6, 2], ["tanh", "relu"], "identity", seed=3, dtype="float64"),
    "regressor": lambda: Regressor(solver="adam", max_iter=3, random_state=0).fit(X[:, :3], X[:, 3]),
    "regressor of two": lambda: Regressor((7, 6), solver="adam", max_iter=3, dtype="float64").fit(X[:, :2], X[:, 2:]),
    "plain regressor": lambda: Regressor(solver="adam", max_iter=3, standardize=False, output="softplus").fit(
        X[:, :3], X[:, 3]
    ),
    "mean and spread": lambda: Regressor(
        (5, 4), activation=["tanh", "relu"], loss="gaussian", dropout=[0.1, 0.2, 0.0], solver="adamw", max_iter=3
    ).fit(X[:, :2], X[:, 2:]),
    "counts": lambda: Regressor(solver="adam", max_iter=3, loss="poisson", learning_rate="onecycle").fit(X[:, :3], Y),
    "quantile": lambda: Regressor(solver="adam", max_iter=3, loss="quantile", quantile=0.9, clip=1.0).fit(
        X[:, :3], X[:, 3]
    ),
    "classifier of names": lambda: Classifier(solver="adam", max_iter=3, random_state=0).fit(X, NAMES[Y]),
    "classifier of two": lambda: Classifier(solver="adam", max_iter=3, class_weight="balanced").fit(
        X[:100], Y[:100] == 1
    ),
    "several labels": lambda: Classifier(solver="adam", max_iter=3).fit(X, np.eye(3, dtype=int)[Y]),
    "images": lambda: Classifier(solver="adam", max_iter=3, hidden_layer_sizes=[5]).fit((X * 20).astype(np.uint8), Y),
}


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load(name, tmp_path):
    path, model = tmp_path / "m.chain", MODELS[name]()
    chainrule.save(model, path)
    again = chainrule.load(path)
    assert type(again) is type(model)
    rows = X if name == "network" else X[:, : model.n_features_in_]
    rows = (rows * 20).astype(np.uint8) if name == "images" else rows
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows), strict=True)
    if hasattr(model, "classes_"):
        np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
        np.testing.assert_array_equal(again.classes_, model.classes_, strict=True)
    if name == "mean and spread":
        np.testing.assert_array_equal(again.predict(rows, return_std=True), model.predict(rows, return_std=True))
        assert again.get_params()["dropout"] == (0.1, 0.2, 0.0)
    if name != "network":
        assert again.history_.hash == model.history_.hash != ""
        assert again.get_params()["max_iter"] == 3
        assert again.loss_curve_ == model.loss_curve_
        assert again.score(rows, again.predict(rows)) == 1
    before = path.read_bytes()
    chainrule.save(again, path)
    if name != "network":
        assert path.read_bytes() == before
    chainrule.save(model, str(path))


def test_names_of_columns_are_kept(tmp_path):
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    chainrule.save(Classifier(solver="adam", max_iter=3).fit(frame, Y), tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    again.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["d", "c", "b", "a"]])


def test_a_loaded_model_learns_on(tmp_path):
    model = Classifier(solver="adam", max_iter=3, random_state=0).fit(X, Y)
    chainrule.save(model, tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    again.partial_fit(X, Y)
    assert again.n_iter_ == 4
    assert (again.coefs_[0] != model.coefs_[0]).any()


def test_a_file_of_before_the_new_parameters(tmp_path):
    """As the first version wrote it: its parameters are a part of today's, and its history has no hash."""
    path, model = tmp_path / "m.chain", Classifier(solver="adam", max_iter=3, random_state=0).fit(X, Y)
    chainrule.save(model, path)
    new = ("delta", "quantile", "label_smoothing", "dropout")

    def older(meta):
        del meta["estimator"]["history"]["hash"]
        for name in new:
            del meta["estimator"]["parameters"][name]

    forge(path, older)
    again = chainrule.load(path)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.history_.hash == ""
    assert again.get_params() == {**model.get_params(), "engine": None}
    again.partial_fit(X, Y)


def test_file_is_safetensors_with_json(tmp_path):
    network = Network([4, 3, 2])
    chainrule.save(network, tmp_path / "m.chain", {"who": "me"})
    tensors = load_file(tmp_path / "m.chain")
    np.testing.assert_array_equal(tensors["networks.0.layers.0.weights"], network.V)
    assert set(tensors) == {
        "networks.0.layers.0.weights",
        "networks.0.layers.0.bias",
        "networks.0.layers.1.weights",
        "networks.0.layers.1.bias",
    }
    assert export.read(tmp_path / "m.chain")[1] == {"who": "me"}


def forge(path, change, tensors=None):
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        meta = json.loads(file.metadata()["chainrule"])
    held = {k: v.copy() for k, v in load_file(path).items()}
    change(meta)
    if tensors:
        tensors(held)
    save_file(held, path, {"chainrule": json.dumps(meta)})


FORGERIES = {
    "kind": lambda m: m.update(kind="Pickle"),
    "sizes": lambda m: m["networks"][0].update(sizes=[4, 99, 3]),
    "huge sizes": lambda m: m["networks"][0].update(sizes=[2**30, 2**30, 3]),
    "activation": lambda m: m["networks"][0].update(activations=["system", "softmax"]),
    "too few activations": lambda m: m["networks"][0].update(activations=["softmax"]),
    "dtype": lambda m: m["networks"][0].update(dtype="object"),
    "classes": lambda m: m["estimator"].update(classes=[1, 2]),
    "class type": lambda m: m["estimator"].update(class_dtype="V8"),
    "loss": lambda m: m["estimator"].update(loss="half_squared_error "),
    "parameter": lambda m: m["estimator"]["parameters"].update(evil=1),
    "names": lambda m: m["estimator"].update(features=["a"]),
    "missing": lambda m: m.pop("estimator"),
    "scale": lambda m: m["estimator"]["inputs"]["columns"][0].update(scale=0.0),
    "kind of a column": lambda m: m["estimator"]["inputs"]["columns"][0].update(kind="code"),
    "columns used": lambda m: m["estimator"]["inputs"].update(used=[0, 9]),
    "share": lambda m: m["estimator"]["members"][0].update(share=-1.0),
    "bins": lambda m: m["estimator"]["members"][0]["form"].update(bins=7),
    "dtype of the parameters": lambda m: m["estimator"]["parameters"].update(dtype="x"),
    "curve": lambda m: m["estimator"]["history"].update(loss=["x"]),
}


def test_forged_outputs_of_a_spread(tmp_path):
    path = tmp_path / "m.chain"
    chainrule.save(Regressor(solver="adam", max_iter=3).fit(X[:, :1], X[:, 1:]), path)
    forge(path, lambda meta: meta["estimator"].update(loss="gaussian"))
    with pytest.raises(DataError, match=r"m\.chain: its description and its numbers do not fit"):
        chainrule.load(path)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_descriptions(forgery, tmp_path):
    path = tmp_path / "m.chain"
    chainrule.save(Classifier(solver="adam", max_iter=3).fit(X, Y), path)
    forge(path, FORGERIES[forgery])
    with pytest.raises(DataError, match=r"m\.chain: its description and its numbers do not fit"):
        chainrule.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update({"networks.0.layers.0.bias": t["networks.0.layers.0.bias"] * np.nan}),
        lambda t: t.update({"networks.0.layers.0.weights": t["networks.0.layers.0.weights"].T.copy()}),
        lambda t: t.update({"networks.0.layers.0.weights": t["networks.0.layers.0.weights"].astype("f8")}),
        lambda t: t.update({"target.deviation": 0 * t["target.deviation"]}),
        lambda t: t.update({"extra": np.zeros(3)}),
        lambda t: t.pop("target.deviation"),
        lambda t: t.pop("networks.0.layers.1.bias"),
    ],
)
def test_forged_numbers(change, tmp_path):
    path = tmp_path / "m.chain"
    chainrule.save(Regressor(solver="adam", max_iter=3).fit(X, X[:, 0]), path)
    forge(path, lambda meta: None, change)
    with pytest.raises(DataError, match=r"m\.chain: its description and its numbers do not fit"):
        chainrule.load(path)


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "m.chain"
    with pytest.raises(DataError, match="there is no such model file"):
        chainrule.load(path)
    chainrule.save(Network([4, 3]), path)
    whole = path.read_bytes()
    for cut in (0, 5, 50, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="is not a whole model file"):
            chainrule.load(path)
    path.write_bytes(b"\x80\x04\x95cos\nsystem\n" + bytes(100))  # a pickle
    with pytest.raises(DataError, match="is not a whole model file"):
        chainrule.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(DataError, match="not one of chainrule"):
        chainrule.load(path)
    save_file({"a": np.zeros(3)}, path, {"chainrule": "{"})
    with pytest.raises(DataError, match="do not fit"):
        chainrule.load(path)
    save_file({"a": np.zeros(3)}, path, {"chainrule": '{"format": 99}'})
    with pytest.raises(DataError, match="has format 99; this version of chainrule reads format 3"):
        chainrule.load(path)


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "m.chain"
    chainrule.save(Network([4, 3]), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        chainrule.save(Network([5, 3]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved():
    with pytest.raises(TypeError, match="model must be a Network, Regressor or Classifier; got dict"):
        chainrule.save({}, "x.chain")
    with pytest.raises(ValueError, match="this Regressor has learned nothing yet: call fit before save"):
        chainrule.save(Regressor(solver="adam"), "x.chain")
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist; make it first"):
        chainrule.save(Network([1, 1]), "nowhere/x.chain")


# ---- command line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 10, 300), rng.uniform(-1, 1, 300)
    kind = np.where(a + 5 * b > 5, "hot", "cold")
    rows = [f"{p:.4f},{q:.4f},{3 * p + q * q:.4f},{k}" for p, q, k in zip(a, b, kind, strict=True)]
    Path("full.csv").write_text("a,b,strength,kind\n" + "\n".join(rows) + "\n", encoding="utf-8")
    Path("numbers.csv").write_text(
        "a,b,strength\n" + "\n".join(r.rpartition(",")[0] for r in rows) + "\n", encoding="utf-8"
    )
    Path("classes.csv").write_text(
        "a,b,kind\n" + "\n".join(",".join(np.array(r.split(","))[[0, 1, 3]]) for r in rows) + "\n", encoding="utf-8"
    )
    Path("gap.csv").write_text("a,strength\n1,2\n2,NA\n3,4\n", encoding="utf-8")
    Path("slip.csv").write_text("a,strength\n1,2\nwarm,3\n3,4\n", encoding="utf-8")
    Path("new.csv").write_text("b,other,a\n0.5,x,2\n-0.5,y,8\n", encoding="utf-8")
    return tmp_path


ADAM = ("fit", "numbers.csv", "--target", "strength", "--solver", "adam")


def command(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        import warnings

        patch.setattr(warnings, "showwarning", warnings.showwarning)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return main(arguments)


def test_fit_and_predict_numbers(table, capsys):
    assert command(*ADAM, "--out", "m.chain", "--learning-rate", "0.01") == 0
    out = capsys.readouterr().out
    assert "270 rows of 2 numbers, regression of strength, 30 rows set aside" in out
    assert "epoch   1/200" in out
    assert "rows/s" in out
    assert float(out.partition("R² ")[2].split()[0]) > 0.99
    assert chainrule.load("m.chain").validation_curve_, "what is set aside is watched"
    assert command("predict", "m.chain", "new.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "strength"
    assert [float(v) for v in lines[1:]] == pytest.approx([6.25, 24.25], abs=0.8)
    assert command("predict", "m.chain", "new.csv", "--out", "answers.csv") == 0
    assert Path("answers.csv").read_text(encoding="utf-8").splitlines() == lines


def test_fit_with_a_spread_and_a_schedule(table, capsys):
    settings = ["--target", "strength", "--loss", "gaussian", "--solver", "adamw", "--schedule", "onecycle", "--quiet"]
    assert command("fit", "numbers.csv", *settings, "--dropout", "0.1", "--epochs", "60", "--out", "m.chain") == 0
    capsys.readouterr()
    assert command("predict", "m.chain", "new.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "strength,std(strength)"
    assert all(float(line.split(",")[1]) > 0 for line in lines[1:])
    assert command("explain", "m.chain", "numbers.csv") == 0
    assert "(80)" in capsys.readouterr().out


def test_fit_and_predict_classes(table, capsys):
    assert (
        command(
            "fit",
            "classes.csv",
            "--target",
            "kind",
            "--solver",
            "adam",
            "--epochs",
            "100",
            "--learning-rate",
            "0.01",
            "--quiet",
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "classification of kind" in out
    assert "classes.chain holds the model" in out
    assert "epoch" not in out.splitlines()[0]
    assert command("predict", "classes.chain", "new.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "kind,p(cold),p(hot)"
    assert [line.split(",")[0] for line in lines[1:]] == ["cold", "hot"]
    command("fit", "classes.csv", "--target", "kind", "--solver", "adam", "--epochs", "1", "--quiet")
    assert "classes-2.chain holds the model" in capsys.readouterr().out, "an existing file is not taken by default"


@pytest.mark.parametrize("form", ["text", "latex", "json"])
def test_explain(table, capsys, form):
    command(
        "fit", "numbers.csv", "--target", "strength", "--solver", "adam", "--hidden", "4", "--epochs", "5", "--quiet"
    )
    capsys.readouterr()
    assert command("explain", "numbers.chain", "numbers.csv", "--row", "7", "--format", form) == 0
    out = capsys.readouterr().out
    assert {"text": "∂ε/∂V = ∂ε/∂p ⊗ x", "latex": r"\otimes x", "json": '"symbol": "∂ε/∂V"'}[form] in out
    assert command("explain", "--format", form) == 0
    assert "17" in capsys.readouterr().out
    assert command("explain", "numbers.chain", "new.csv", "--label", "6.2") == 0


def test_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            grey = (level + rng.integers(-30, 30, (6, 5))).astype(np.uint8)
            Image.fromarray(grey).save(tmp_path / "photos" / name / f"{i}.png")
    assert command("fit", "photos", "--solver", "adam", "--epochs", "60", "--learning-rate", "0.01", "--quiet") == 0
    assert "100.00 % right" in capsys.readouterr().out
    assert chainrule.load("photos.chain").rows_.shape == (6, 5)
    assert command("predict", "photos.chain", "photos/light/3.png") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("photos/light/3.png,light,0.0")
    assert command("explain", "photos.chain", "photos", "--row", "0") == 0
    Image.new("L", (9, 9)).save("big.png")
    assert command("predict", "photos.chain", "big.png") == 2
    assert "big.png: images of 9 x 9 pixels; the model learned from 5 x 6 pixels" in capsys.readouterr().err
    assert command("fit", "photos", "--quiet", "--hidden", "20", "--out", "auto.chain") == 0
    assert "images of 6 x 5: 2 networks, gelu 20" in capsys.readouterr().out, "as images are learned"
    assert command("predict", "auto.chain", "photos/dark/3.png") == 0
    assert "photos/dark/3.png,dark," in capsys.readouterr().out


# ---- what auto is told, and columns of any kind ----------------------------------------------------------------------


def parameters(path: str) -> dict[str, object]:
    """Those that are not as the estimator has them by itself."""
    model = chainrule.load(path)
    usual = type(model)().get_params()
    return {name: value for name, value in model.get_params().items() if value != usual[name]}


SHORT = ["--quiet", "--hidden", "3", "--epochs", "2", "--out", "m.chain"]
BY_RULE = {"tol": 0.0, "early_stopping": True, "n_iter_no_change": 20}  # of a solver named


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--hidden", "7"], {"hidden_layer_sizes": (7,)}),
        (
            ["--hidden", "6,5", "--activation", "tanh", "--loss", "huber", "--output", "identity", "--batch-size", "50"],
            {
                "hidden_layer_sizes": (6, 5), "activation": "tanh", "loss": "huber", "output": "identity",
                "batch_size": 50,
            },
        ),
        (
            ["--learning-rate", "0.02", "--schedule", "cosine", "--dropout", "0.1", "--alpha", "0.2", "--no-standardize"],
            {
                "learning_rate_init": 0.02, "learning_rate": "cosine", "dropout": 0.1, "alpha": 0.2, "standardize": False,
            },
        ),
        (["--seed", "3", "--loss", "quantile", "--quantile", "0.9", "--dtype", "float64"],
         {"random_state": 3, "loss": "quantile", "quantile": 0.9, "dtype": "float64"}),
        (["--ensemble", "3", "--bounds", "0,"], {"ensemble": 3, "bounds": (0.0, None)}),
        (["--bounds=-5,80.5"], {"bounds": (-5.0, 80.5)}),
        (["--bounds", ", 99"], {"bounds": (None, 99.0)}),
        (["--solver", "adam"], {"solver": "adam", **BY_RULE}),
        (["--solver", "sgd", "--momentum", "0.5", "--validation", "0", "--epochs", "200"],
         {"solver": "sgd", "momentum": 0.5, "tol": 0.0, "max_iter": 200}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_given_is_left_to_the_estimator(table, capsys, arguments, expected):
    epochs = [] if "--epochs" in arguments or expected.get("solver") else ["--epochs", "2"]
    assert (
        command("fit", "numbers.csv", "--target", "strength", "--quiet", "--out", "m.chain", *epochs, *arguments) == 0
    )
    assert parameters("m.chain") == {"random_state": 0, **({"max_iter": 2} if epochs else {}), **expected}
    model, out = chainrule.load("m.chain"), capsys.readouterr().out
    assert model.summary() in out.splitlines(), "what was chosen is said"
    if "hidden_layer_sizes" in expected:
        assert {member.network.sizes[1:-1] for member in model.ensemble_.members} == {expected["hidden_layer_sizes"]}
    assert ("rows set aside" in out) == bool(expected.get("early_stopping"))


def test_ensemble_and_time_limit(table, capsys):
    for limit, networks in (([], 3), (["--time-limit", "1e-6"], 1)):
        arguments = ["--target", "strength", "--ensemble", "3", *SHORT, *limit]
        assert command("fit", "numbers.csv", *arguments) == 0
        model = chainrule.load("m.chain")
        assert max(chosen["networks"] for chosen in model.choice_) == networks
        assert f"{networks} network" in capsys.readouterr().out
    assert model.time_limit == 1e-6


def test_bounds(table, capsys):
    rows = [f"{a},{3 * max(a, 0)}" for a in np.linspace(-1, 1, 60)]
    Path("kinked.csv").write_text("a,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    Path("far.csv").write_text("a\n" + "\n".join(map(str, np.linspace(-9, 9, 50))) + "\n", encoding="utf-8")
    for bounds, (low, high) in (
        ([], (-1.0, 27.0)),
        (["--bounds", "0,"], (0.0, 27.0)),
        (["--bounds", "0,3"], (0.0, 3.0)),
    ):
        settings = ["--target", "y", "--hidden", "4", "--epochs", "30", "--activation", "tanh", "--ensemble", "2"]
        assert command("fit", "kinked.csv", *settings, "--quiet", "--out", "m.chain", *bounds) == 0
        capsys.readouterr()
        assert command("predict", "m.chain", "far.csv") == 0
        answers = np.array([float(line) for line in capsys.readouterr().out.splitlines()[1:]])
        assert low <= answers.min() < 0.3
        assert 2 < answers.max() <= high
        if not bounds:
            assert answers.min() < 0, "without bounds some answer is below"
    assert command("fit", "kinked.csv", "--target", "y", "--bounds", "0,2.5") == 2
    error = capsys.readouterr().err
    assert (
        "kinked.csv, line 57, column 'y': must lie within --bounds '0,2.5'; found 2.59322. Correct it, or widen"
        in error
    )
    assert command("fit", "classes.csv", "--target", "kind", "--bounds", "0,1") == 2
    assert "--bounds is of a regression; kind holds classes: leave it out" in capsys.readouterr().err


def test_rows_set_aside_with_auto(table, capsys, monkeypatch):
    learned, given = Regressor.fit, []
    monkeypatch.setattr(
        Regressor, "fit", lambda self, X, y, **rest: given.append((X, y, rest)) or learned(self, X, y, **rest)
    )
    assert command("fit", "numbers.csv", "--target", "strength", "--validation", "0.2", *SHORT) == 0
    out = capsys.readouterr().out
    assert "240 rows of 2 numbers, regression of strength, 60 rows set aside" in out
    assert "set aside: root mean squared error" in out
    X_fit, y_fit, validation = given[0]
    assert (len(X_fit), len(y_fit), len(validation["X_val"]), len(validation["y_val"])) == (240, 240, 60, 60)
    assert not set(y_fit) & set(validation["y_val"])


@pytest.fixture
def mixed(table):
    """Of each kind of column one that counts, with gaps."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        a, colour, truth = rng.uniform(0, 10), ("red", "green", "blue")[i % 3], ("yes", "no")[i % 2]
        y = 3 * a + {"red": 0, "green": 10, "blue": -10}[colour] + (6 if truth == "yes" else 0)
        day = "NA" if i % 10 == 4 else f"2021-{1 + i % 12:02d}-{1 + i % 28:02d}"
        rows.append(f"{a:.3f},{colour},{truth},{day},{y:.3f},{'high' if y > 15 else 'low'}")
    Path("mixed.csv").write_text("a,colour,truth,day,y,level\n" + "\n".join(rows) + "\n", encoding="utf-8")
    Path("known.csv").write_text(
        "a,colour,truth,day\n2,red,yes,2021-03-03\n2,green,yes,2021-03-03\n2,green,no,2021-03-03\n", encoding="utf-8"
    )
    Path("strange.csv").write_text("day,truth,colour,a\n,yes,violet,2\n2021-03-03,,red,NA\nn/a,?,,\n", encoding="utf-8")
    return table


@pytest.mark.parametrize(
    ("settings", "near"), [([], 0.5), (["--solver", "adam", "--learning-rate", "0.01"], 4.0)], ids=str
)
def test_columns_of_any_kind(mixed, capsys, settings, near):
    Path("learned.csv").write_text(
        "\n".join(line.rpartition(",")[0] for line in Path("mixed.csv").read_text(encoding="utf-8").splitlines()),
        "utf-8",
    )
    settings = ["--target", "y", *settings, "--quiet", "--out", "m.chain"]
    assert command("fit", "learned.csv", *settings) == 0
    assert "rows of 4 columns, regression of y" in capsys.readouterr().out
    answers = []
    for new in ("known.csv", "strange.csv"):
        done = subprocess.run(
            [sys.executable, "-m", "chainrule.cli", "predict", "m.chain", new],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        header, *lines = done.stdout.splitlines()
        assert header == "y"
        answers.append([float(line) for line in lines])
    np.testing.assert_allclose(answers[0], [12, 22, 16], atol=near)
    assert len(answers[1]) == 3
    assert np.isfinite(answers[1]).all()


def test_targets_with_decimal_commas_are_refused(table, capsys):
    Path("comma.csv").write_text("a;y\n" + "".join(f"{i};{i},5\n" for i in range(30)), encoding="utf-8")
    assert command("fit", "comma.csv", "--target", "y", *SHORT) == 2
    assert "comma.csv, line 2, column 'y': must be a finite number; found '0,5'. Write '0.5'" in capsys.readouterr().err


def test_columns_of_another_kind_than_learned(mixed, capsys):
    assert command("fit", "mixed.csv", "--target", "level", *SHORT) == 0
    for cells, message in (
        ("hot,red,yes,", "line 3, column 'a': is a number in what was learned from; found 'hot'. Correct it, or leave"),
        ("1,red,maybe,", "line 3, column 'truth': is a boolean in what was learned from; found 'maybe'"),
        ("1,red,no,7", "line 3, column 'day': is a date in what was learned from; found '7'"),
        ('"1,5",red,no,', "line 3, column 'a': must be a finite number; found '1,5'. Write '1.5'"),
        (
            '"-1,500",red,no,',
            "line 3, column 'a': must be a finite number; found '-1,500'. Write '-1500' if the comma groups",
        ),
    ):
        Path("new.csv").write_text(f"y,a,colour,truth,day\n1,1,red,yes,\n2,{cells}\n", encoding="utf-8")
        capsys.readouterr()
        assert command("predict", "m.chain", "new.csv") == 2
        captured = capsys.readouterr()
        assert f"new.csv, {message}" in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""


def test_explain_of_several_networks_and_columns_of_any_kind(mixed, capsys):
    for settings in (["--ensemble", "2"], ["--solver", "adam"]):
        assert command("fit", "mixed.csv", "--target", "level", *SHORT, *settings) == 0
        capsys.readouterr()
        assert command("explain", "m.chain", "mixed.csv", "--row", "4") == 0
        out = capsys.readouterr().out
        assert "colour = green, truth = yes, day = missing, y = " in out
        assert "All derivatives agree" in out
        assert ("networks, which answer together, this is one of the largest share" in out) == (
            "--ensemble" in settings
        )
        assert command("explain", "m.chain", "mixed.csv", "--row", "5", "--format", "json") == 0
        assert json.loads(capsys.readouterr().out)["error"] < 1e-5


def test_models_that_take_no_missing_value(table, capsys):
    assert command("fit", "numbers.csv", "--target", "strength", "--no-standardize", *SHORT) == 0
    chainrule.save(Network([2, 1]), "network.chain")
    Path("new.csv").write_text("a,b\n1,2\n3,\n", encoding="utf-8")
    for model in ("m.chain", "network.chain"):
        capsys.readouterr()
        assert command("predict", model, "new.csv") == 2
        assert "new.csv, line 3, column 'b': must be a finite number; found an empty cell" in capsys.readouterr().err


def test_the_seed_command(mnist, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = command(
        "fit", str(mnist), "--hidden", "30", "--activation", "sigmoid", "--output", "sigmoid", "--loss",
        "half_squared_error", "--solver", "sgd", "--batch-size", "10", "--learning-rate", "3", "--momentum", "0",
        "--alpha", "0", "--epochs", "5",
    )  # fmt: skip
    out = capsys.readouterr().out
    assert code == 0
    assert "60000 rows of 784 numbers, classification" in out
    accuracy = float(next(line for line in out.splitlines() if line.startswith("test: ")).split()[1])
    assert accuracy > 93


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()
    assert command("demo") == 0
    assert time.perf_counter() - start < 10
    out = capsys.readouterr().out
    assert "epoch 30/30" in out
    assert float(out.partition("test accuracy: ")[2].split()[0]) > 94
    assert "confusion matrix" in out
    assert "█" in out or "#" in out
    assert command("predict", "digits.chain", "digits.png") == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("file,digit,p(0)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["fit"], "the following arguments are required: data"),
        (["fly"], "invalid choice"),
        (["fit", "nothing.csv", "--target", "y"], "nothing.csv: there is no such file"),
        (["fit", "numbers.csv"], "name the column to learn with --target; it has a, b, strength"),
        (["fit", "numbers.csv", "--target", "strenth"], "has no column 'strenth' to learn"),
        (
            ["fit", "gap.csv", "--target", "strength"],
            "gap.csv, line 3, column 'strength': the label is missing; found 'NA'. Fill it in, or leave the row out",
        ),
        (
            ["fit", "slip.csv", "--target", "strength"],
            "slip.csv, line 3, column 'a': most values are a number; found 'warm'",
        ),
        (["fit", "numbers.csv", "--target", "strength", "--activation", "rellu"], "Did you mean 'relu'"),
        (["fit", "numbers.csv", "--target", "strength", "--hidden", "a"], "--hidden must be whole numbers"),
        (
            ["fit", "numbers.csv", "--target", "strength", "--out", "no/m.chain"],
            "does not exist; make it, or choose another",
        ),
        (
            ["fit", "numbers.csv", "--target", "strength", "--validation", "2"],
            "--validation must be at least 0 and below 1",
        ),
        (
            ["fit", "numbers.csv", "--target", "strength", "--solver", "sgd", "--learning-rate", "1e9"],
            "training diverged",
        ),
        (["fit", "classes.csv", "--target", "kind", "--task", "regression"], "holds text; regression needs numbers"),
        (["predict", "nothing.chain", "new.csv"], "there is no such model file"),
        (["predict", "new.csv", "new.csv"], "is not a whole model file"),
        (["explain", "nothing.chain"], "explain needs the data beside the model"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_errors_are_one_line_and_exit_code_2(table, capsys, arguments, message):
    try:
        code = command(*arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not list(table.glob("*.chain"))


def test_one_label_only(table, capsys):
    Path("one.csv").write_text("a,kind\n1,x\n2,x\n", encoding="utf-8")
    assert command("fit", "one.csv", "--target", "kind") == 2
    assert "one.csv: all 2 labels are 'x'; at least two classes are needed" in capsys.readouterr().err


def test_predict_misses_a_column(table, capsys):
    command("fit", "numbers.csv", "--target", "strength", "--solver", "adam", "--epochs", "1", "--quiet")
    Path("new.csv").write_text("a,c\n1,2\n", encoding="utf-8")
    capsys.readouterr()
    assert command("predict", "numbers.chain", "new.csv") == 2
    assert "new.csv: has no column 'b', which the model needs; its columns are a, c" in capsys.readouterr().err


def test_ctrl_c_saves_what_was_learned(table):
    process = subprocess.Popen(
        [sys.executable, "-m", "chainrule.cli", "fit", "numbers.csv", "--target", "strength", "--solver", "adam",
         "--epochs", "10000000", "--validation", "0", "--out", "m.chain"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after" in err
    assert "Traceback" not in err
    assert "m.chain holds the model" in out
    chainrule.load("m.chain").predict([[1.0, 2.0]])


def test_full_disk_is_one_line(table):
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("no /dev/full here")
    command(
        "fit", "numbers.csv", "--target", "strength", "--solver", "adam", "--epochs", "1", "--quiet", "--out", "m.chain"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "chainrule.cli", "predict", "m.chain", "new.csv"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


def test_terminal_without_unicode(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", "demo"], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"##" in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"chainrule {chainrule.__version__}"


def test_output_that_would_destroy_something(table, capsys):
    assert command(*ADAM, "--epochs", "2", "--quiet", "--out", "m.chain") == 0
    model, rows = Path("m.chain").read_bytes(), Path("numbers.csv").read_bytes()
    Path("link.csv").symlink_to("numbers.csv")
    for arguments in (
        ["predict", "m.chain", "new.csv", "--out", "m.chain"],
        ["predict", "m.chain", "new.csv", "--out", "new.csv"],
        ["fit", "numbers.csv", "--target", "strength", "--out", "link.csv"],
    ):
        capsys.readouterr()
        assert command(*arguments) == 2
        assert "is what is read; choose another --out" in capsys.readouterr().err
    assert (Path("m.chain").read_bytes(), Path("numbers.csv").read_bytes()) == (model, rows)
    os.mkfifo("pipe")
    assert command("predict", "m.chain", "new.csv", "--out", "pipe") == 2
    assert "pipe: is no ordinary file" in capsys.readouterr().err
    with pytest.raises(OSError, match="is no ordinary file"):
        chainrule.save(chainrule.Network([1, 1]), "pipe")
    with pytest.raises(OSError, match="is a folder; name a file"):
        chainrule.save(chainrule.Network([1, 1]), ".")
    Path("kept.csv").write_text("old", encoding="utf-8")
    Path("to.csv").symlink_to("kept.csv")
    assert command("predict", "m.chain", "new.csv", "--out", "to.csv") == 0
    assert Path("to.csv").is_symlink(), "a link stays one"
    assert Path("kept.csv").read_text(encoding="utf-8").startswith("strength")
    assert command("demo", "--out", "x.png") == 2


def test_the_file_does_not_depend_on_threads(table):
    for threads in ("1", "2"):
        command("fit", "numbers.csv", "--target", "strength", "--solver", "adam", "--epochs", "2", "--quiet",
                "--threads", threads, "--out", f"{threads}.chain")  # fmt: skip
    assert Path("1.chain").read_bytes() == Path("2.chain").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden=-5"], "--hidden must be whole numbers, as 30 or 64,32; got '-5'"),
        (["--hidden", ""], "--hidden must be"),
        (["--hidden", "64,,32"], "--hidden must be"),
        (["--hidden", "0"], "--hidden must be a whole number of 1"),
        (["--batch-size", "0"], "--batch-size must be a whole number of 1"),
        (["--epochs", "0"], "--epochs must be a whole number of 1"),
        (["--seed", "-1"], "--seed must be a whole number of 0"),
        (["--learning-rate", "-1"], "--learning-rate must be a finite number, above 0"),
        (["--alpha", "-1"], "--alpha must be a finite number, 0 or more"),
        (["--threads", "0"], "--threads must be"),
        (["--schedule", "cosin"], "--schedule must be one of"),
        (["--dropout", "1"], "--dropout must be a finite number, 0 or more, below 1"),
        (["--quantile", "0"], "--quantile must be a finite number, above 0"),
        (["--loss", "cross_entropy"], "is not one of a Regressor's"),
        (["--hidden", "2000000000"], "GB of parameters"),
        (["--bounds", "5"], "--bounds must be LOW,HIGH, low below high, of which one may be empty"),
        (["--bounds", "5,2"], "--bounds must be LOW,HIGH, low below high"),
        (["--bounds", ","], "--bounds must be LOW,HIGH"),
        (["--bounds", "0,x"], "--bounds must be LOW,HIGH"),
        (["--bounds", "0,9", "--loss", "gaussian"], "--bounds"),
        (["--ensemble", "1"], "--ensemble is of solver='auto', 2 or more: each network"),
        (["--time-limit", "0"], "--time-limit must be a finite number, above 0"),
        (
            ["--momentum", "0.5"],
            "--momentum goes with --solver sgd or momentum or nesterov; got auto: leave --momentum out",
        ),
        (["--solver", "adam", "--ensemble", "3"], "--ensemble is of solver='auto', 2 or more"),
        (["--target", "Strength"], "Did you mean 'strength'"),
    ],
    ids=str,
)
def test_errors_name_the_flag_that_was_typed(table, capsys, arguments, message):
    assert command("fit", "numbers.csv", "--target", "strength", "--quiet", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_many_and_rare_classes(table, capsys):
    rows = [f"{i % 7},{i},k{i % 50}" for i in range(200)]
    Path("many.csv").write_text("a,b,kind\n" + "\n".join([*rows, "1,2,rare"]) + "\n", encoding="utf-8")
    assert command("fit", "many.csv", "--target", "kind", "--solver", "adam", "--epochs", "2", "--quiet") == 0
    assert "181 rows of 2 numbers, classification of kind, 20 rows set aside" in capsys.readouterr().out


def test_whole_numbers_as_classes(table, capsys):
    Path("digits.csv").write_text("a,k\n" + "\n".join(f"{i},0{i % 3}" for i in range(60)) + "\n", encoding="utf-8")
    assert (
        command(
            "fit", "digits.csv", "--target", "k", "--solver", "adam", "--epochs", "2", "--quiet", "--out", "q.chain"
        )
        == 0
    )
    assert "k holds 3 whole numbers and is learned as a quantity" in capsys.readouterr().err
    settings = [
        "--target",
        "k",
        "--task",
        "classification",
        "--solver",
        "adam",
        "--epochs",
        "2",
        "--quiet",
        "--out",
        "c.chain",
    ]
    assert command("fit", "digits.csv", *settings) == 0
    assert command("predict", "c.chain", "digits.csv") == 0
    assert "k,p(00),p(01),p(02)" in capsys.readouterr().out
    assert command("explain", "c.chain", "digits.csv", "--label", "maybe") == 2
    assert "--label must be one of the classes 00, 01, 02; got 'maybe'" in capsys.readouterr().err
    assert command("explain", "c.chain", "digits.csv", "--label", "02") == 0
    assert "l = 02." in capsys.readouterr().out
    assert command("explain", "q.chain", "digits.csv", "--label", "abc") == 2
    assert "--label must be a number" in capsys.readouterr().err
    assert command("explain", "--row", "3") == 2
    assert "need a model and data" in capsys.readouterr().err


def test_regression_and_prediction_from_an_index_of_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(30):
        Image.fromarray(np.full((3, 3), 8 * i, np.uint8)).convert("RGB" if i % 2 else "L").save(f"{i}.png")
    lines = [f"{i}.png,{i / 10 + 0.05:.2f}" for i in range(30)]
    Path("index.csv").write_text("image,angle\n" + "\n".join(lines) + "\n", encoding="utf-8")
    assert (
        command(
            "fit", ".", "--solver", "adam", "--epochs", "300", "--quiet", "--out", "m.chain", "--learning-rate", "0.01"
        )
        == 0
    )
    assert "regression of angle" in capsys.readouterr().out
    assert command("predict", "m.chain", "index.csv") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "file,angle"
    assert len(out) == 31


def test_explain_in_the_users_own_units(table, capsys):
    command(
        "fit", "numbers.csv", "--target", "strength", "--solver", "adam", "--epochs", "2", "--quiet", "--out", "m.chain"
    )
    first = Path("numbers.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    capsys.readouterr()
    assert command("explain", "m.chain", "numbers.csv") == 0
    given = f"Given: a = {float(first[0]):g}, b = {float(first[1]):g}; l = {float(first[2])}."
    assert f"{given} x and l below are these, standardised." in capsys.readouterr().out
    model = chainrule.load("m.chain")
    x = [float(v) for v in first[:2]]
    assert chainrule.explain(model, x, float(first[2])).error < 1e-7
    with pytest.raises(TypeError, match="explain takes a Network or a fitted Regressor or Classifier; got Regressor"):
        chainrule.explain(Regressor(solver="adam"), x, 1.0)


def test_explain_at_a_kink_and_by_a_wrong_symbol():
    network = chainrule.Network([1, 1, 1], "relu", "relu", seed=3, dtype="float64")
    explanation = chainrule.explain(network, 0.6, 0.3)
    assert "holds 0, the kink of relu" in explanation.text()
    assert "NOT in agreement" in explanation.text()
    with pytest.raises(KeyError, match=r"∂ε/∂W'; there are p, y, q, z"):
        explanation["∂ε/∂W"]
    latex = chainrule.explain(chainrule.Network([1, 1, 1], dtype="float64"), 0.6, 0.3).latex()
    assert r"\sigma'(q) = \frac{e^{-q}}{(1 + e^{-q})^2}" in latex
    assert latex.count("differences: ") == 9


def test_description_nested_without_end(tmp_path):
    save_file({"networks.0.layers.0.bias": np.zeros(1, "f4")}, tmp_path / "m.chain", {"chainrule": "[" * 100_000})
    with pytest.raises(DataError, match="may be forged or damaged"):
        chainrule.load(tmp_path / "m.chain")


def test_what_is_not_finite_is_not_saved(tmp_path):
    network = chainrule.Network([1, 1])
    network.parameters[0] = np.nan
    with pytest.raises(ValueError, match="parameters that are not finite"):
        chainrule.save(network, tmp_path / "m.chain")


def test_history_is_kept_in_the_file(tmp_path):
    X = np.random.default_rng(0).random((50, 2))
    model = Regressor(solver="adam", max_iter=5, tol=0, early_stopping=True, random_state=0).fit(X, X[:, 0])
    chainrule.save(model, tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    for name in ("loss", "validation", "rate", "ending", "best_epoch"):
        assert getattr(again.history_, name) == getattr(model.history_, name)
    assert (again.loss_, again.best_loss_, again.n_iter_) == (model.loss_, model.best_loss_, model.n_iter_)
    again.partial_fit(X, X[:, 0])
    assert len(again.history_.rate) == len(again.history_.loss) == 6


@pytest.mark.parametrize("name", ["CHAINRULE_ISA", "CHAINRULE_ENGINE"])
def test_wrong_environment_is_one_line(name):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", "explain"],
        capture_output=True,
        text=True,
        env={**os.environ, name: "x"},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"chainrule: error: {name} must be one of")
    assert done.stderr.count("\n") == 1
