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
    "regressor": lambda: Regressor(max_iter=3, random_state=0).fit(X[:, :3], X[:, 3]),
    "regressor of two": lambda: Regressor((7, 6), max_iter=3, dtype="float64").fit(X[:, :2], X[:, 2:]),
    "plain regressor": lambda: Regressor(max_iter=3, standardize=False, output="softplus").fit(X[:, :3], X[:, 3]),
    "classifier of names": lambda: Classifier(max_iter=3, random_state=0).fit(X, NAMES[Y]),
    "classifier of two": lambda: Classifier(max_iter=3, class_weight="balanced").fit(X[:100], Y[:100] == 1),
    "several labels": lambda: Classifier(max_iter=3).fit(X, np.eye(3, dtype=int)[Y]),
    "images": lambda: Classifier(max_iter=3, hidden_layer_sizes=[5]).fit((X * 20).astype(np.uint8), Y),
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
    if name != "network":
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
    chainrule.save(Classifier(max_iter=3).fit(frame, Y), tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    again.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["d", "c", "b", "a"]])


def test_a_loaded_model_learns_on(tmp_path):
    model = Classifier(max_iter=3, random_state=0).fit(X, Y)
    chainrule.save(model, tmp_path / "m.chain")
    again = chainrule.load(tmp_path / "m.chain")
    again.partial_fit(X, Y)
    assert again.n_iter_ == 4
    assert (again.coefs_[0] != model.coefs_[0]).any()


def test_file_is_safetensors_with_json(tmp_path):
    network = Network([4, 3, 2])
    chainrule.save(network, tmp_path / "m.chain", {"who": "me"})
    tensors = load_file(tmp_path / "m.chain")
    np.testing.assert_array_equal(tensors["layers.0.weights"], network.V)
    assert set(tensors) == {"layers.0.weights", "layers.0.bias", "layers.1.weights", "layers.1.bias"}
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
    "sizes": lambda m: m.update(sizes=[4, 99, 3]),
    "huge sizes": lambda m: m.update(sizes=[2**30, 2**30, 3]),
    "activation": lambda m: m.update(activations=["system", "softmax"]),
    "too few activations": lambda m: m.update(activations=["softmax"]),
    "dtype": lambda m: m.update(dtype="object"),
    "classes": lambda m: m["estimator"].update(classes=[1, 2]),
    "class type": lambda m: m["estimator"].update(class_dtype="V8"),
    "loss": lambda m: m["estimator"].update(loss="half_squared_error "),
    "parameter": lambda m: m["estimator"]["parameters"].update(evil=1),
    "names": lambda m: m["estimator"].update(features=["a"]),
    "missing": lambda m: m.pop("estimator"),
    "curve": lambda m: m["estimator"].update(loss_curve=["x"]),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_descriptions(forgery, tmp_path):
    path = tmp_path / "m.chain"
    chainrule.save(Classifier(max_iter=3).fit(X, Y), path)
    forge(path, FORGERIES[forgery])
    with pytest.raises(DataError, match=r"m\.chain: its description and its numbers do not fit"):
        chainrule.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update({"layers.0.bias": t["layers.0.bias"] * np.nan}),
        lambda t: t.update({"layers.0.weights": t["layers.0.weights"].T.copy()}),
        lambda t: t.update({"layers.0.weights": t["layers.0.weights"].astype("f8")}),
        lambda t: t.update({"input.deviation": 0 * t["input.deviation"]}),
        lambda t: t.update({"extra": np.zeros(3)}),
        lambda t: t.pop("input.deviation"),
        lambda t: t.pop("layers.1.bias"),
    ],
)
def test_forged_numbers(change, tmp_path):
    path = tmp_path / "m.chain"
    chainrule.save(Classifier(max_iter=3).fit(X, Y), path)
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
    with pytest.raises(DataError, match="has format 99; this version of chainrule reads format 1"):
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
        chainrule.save(Regressor(), "x.chain")
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
    Path("new.csv").write_text("b,other,a\n0.5,x,2\n-0.5,y,8\n", encoding="utf-8")
    return tmp_path


def command(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        import warnings

        patch.setattr(warnings, "showwarning", warnings.showwarning)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return main(arguments)


def test_fit_and_predict_numbers(table, capsys):
    assert command("fit", "numbers.csv", "--target", "strength", "--out", "m.chain", "--learning-rate", "0.01") == 0
    out = capsys.readouterr().out
    assert "270 rows of 2 numbers, regression of strength, 30 rows set aside" in out
    assert "epoch   1/200" in out
    assert "rows/s" in out
    assert "R² 0.99" in out
    assert command("predict", "m.chain", "new.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "strength"
    assert [float(v) for v in lines[1:]] == pytest.approx([6.25, 24.25], abs=0.8)
    assert command("predict", "m.chain", "new.csv", "--out", "answers.csv") == 0
    assert Path("answers.csv").read_text(encoding="utf-8").splitlines() == lines


def test_fit_and_predict_classes(table, capsys):
    assert (
        command("fit", "classes.csv", "--target", "kind", "--epochs", "100", "--learning-rate", "0.01", "--quiet") == 0
    )
    out = capsys.readouterr().out
    assert "classification of kind" in out
    assert "classes.chain holds the model" in out
    assert "epoch" not in out.splitlines()[0]
    assert command("predict", "classes.chain", "new.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "kind,p(cold),p(hot)"
    assert [line.split(",")[0] for line in lines[1:]] == ["cold", "hot"]
    command("fit", "classes.csv", "--target", "kind", "--epochs", "1", "--quiet")
    assert "classes-2.chain holds the model" in capsys.readouterr().out, "an existing file is not taken by default"


@pytest.mark.parametrize("form", ["text", "latex", "json"])
def test_explain(table, capsys, form):
    command("fit", "numbers.csv", "--target", "strength", "--hidden", "4", "--epochs", "5", "--quiet")
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
    assert command("fit", "photos", "--epochs", "60", "--learning-rate", "0.01", "--quiet") == 0
    assert "100.00 % right" in capsys.readouterr().out
    assert command("predict", "photos.chain", "photos/light/3.png") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("photos/light/3.png,light,0.0")
    assert command("explain", "photos.chain", "photos", "--row", "0") == 0
    Image.new("L", (9, 9)).save("big.png")
    assert command("predict", "photos.chain", "big.png") == 2
    assert "big.png: images of 9 x 9 pixels; the model learned from 5 x 6 pixels" in capsys.readouterr().err


def test_the_seed_command(mnist, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = command(
        "fit", str(mnist), "--hidden", "30", "--activation", "sigmoid", "--output", "sigmoid", "--loss",
        "half_squared_error", "--solver", "sgd", "--batch-size", "10", "--learning-rate", "3", "--epochs", "5",
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
        (["fit", "full.csv", "--target", "strength"], "line 2, column 'kind': must be a finite number; found"),
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
    command("fit", "numbers.csv", "--target", "strength", "--epochs", "1", "--quiet")
    Path("new.csv").write_text("a,c\n1,2\n", encoding="utf-8")
    capsys.readouterr()
    assert command("predict", "numbers.chain", "new.csv") == 2
    assert "new.csv: has no column 'b', which the model needs; its columns are a, c" in capsys.readouterr().err


def test_ctrl_c_saves_what_was_learned(table):
    process = subprocess.Popen(
        [sys.executable, "-m", "chainrule.cli", "fit", "numbers.csv", "--target", "strength", "--epochs", "10000000",
         "--validation", "0", "--out", "m.chain"],
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
    command("fit", "numbers.csv", "--target", "strength", "--epochs", "1", "--quiet", "--out", "m.chain")
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
