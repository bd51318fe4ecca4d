"""The build and the house rules: one symbol per kernel object, stubs and names that fit, a package that speaks of itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import chainrule
from conftest import NATIVE, SETS

ROOT = Path(__file__).parents[1]
FLAGS = ["-std=c++20", "-O1", "-fPIC", "-ffp-contract=off", "-fno-math-errno"]


def test_the_native_engine_is_there():
    """The build falls back to the textbook engine where there is no compiler: here that must not go unnoticed."""
    assert NATIVE is not None
    assert SETS
    assert chainrule.Network([1, 1], engine="native").engine == "native"


def test_names_that_stay():
    assert set(chainrule.__all__) <= set(dir(chainrule))
    for name in chainrule.__all__:
        assert getattr(chainrule, name).__doc__, name
    modules = {path.stem for path in (ROOT / "src/chainrule").glob("*.py")}
    assert not modules & set(chainrule.__all__), "a module and a public function never share a name"
    assert chainrule.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_import_brings_nothing_slow():
    slow = "sklearn", "scipy", "pandas", "matplotlib", "PIL"
    code = f"import sys, chainrule; print(*(m for m in {slow} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs clang++")
@pytest.mark.parametrize("source", ["kernels.cpp", "train.cpp", "predict.cpp", "dispatch.cpp"])
def test_the_core_compiles_with_clang(source):
    """Without a word: what GCC alone accepts would leave a Mac with the slow engine."""
    if os.uname().machine != "x86_64":
        pytest.skip("compiles for x86-64")
    defined = ["-DCHAINRULE_VECTOR_BYTES=32", "-DCHAINRULE_ROWS=6", "-DCHAINRULE_TABLE=v3", '-DCHAINRULE_NAME="x"']
    done = subprocess.run(
        ["clang++", *FLAGS, "-mavx2", "-mfma", *defined, "-Wall", "-Wextra", "-fsyntax-only", str(ROOT / "core" / source)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.parametrize("table", ["v3", "v4"])
def test_a_kernel_object_exports_one_table(table):
    """Inline functions compiled for one instruction set must not be merged by the linker with another's."""
    made = [*ROOT.glob(f"build/cp*/CMakeFiles/kernels_x86_64_{table}.dir/**/kernels.cpp.o")]
    if not made:
        pytest.skip("the package was not built here for x86-64")
    for path in made:
        symbols = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        kinds = [(line.split()[-2], line.split()[-1]) for line in symbols.splitlines() if len(line.split()) > 1]
        assert [name for kind, name in kinds if kind.isupper() and kind != "U"] == [f"chainrule::x86_64_{table}"]
        assert not [name for kind, name in kinds if kind in "WVwv"]
        undefined = {line.split()[-1] for line in symbols.splitlines() if " U " in line}
        assert undefined <= {"memset", "memcpy", "fma", "fmaf", "_GLOBAL_OFFSET_TABLE_"}, (
            "libm differs between machines"
        )


def test_no_flag_that_changes_arithmetic():
    text = (ROOT / "CMakeLists.txt").read_text()
    flags = re.sub(r"#.*", "", text)
    assert "fast-math" not in flags
    assert "-Ofast" not in flags
    assert "-march=native" not in flags
    assert flags.count("-ffp-contract=off") == 2


def test_stub_and_module_fit():
    stub = ast.parse((ROOT / "src/chainrule/_native.pyi").read_text())
    declared = {f.name for f in stub.body if isinstance(f, ast.FunctionDef)}
    assert declared == {name for name in dir(NATIVE) if not name.startswith("_")}


def test_the_package_speaks_of_itself_alone():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix not in (".png", ".svg") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert str(Path.home()) + "/" not in text, name
            assert str(ROOT.parent) + "/" not in text, name


def test_public_functions_are_documented_in_full():
    for name in ("train", "gradient_descent", "explain", "save", "load"):
        doc = getattr(chainrule, name).__doc__
        tree = ast.parse(Path(sys.modules[getattr(chainrule, name).__module__].__file__).read_text())
        function = next(f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == name)
        for argument in [*function.args.args, *function.args.kwonlyargs]:
            assert re.search(rf"\b{argument.arg}\b", doc), (name, argument.arg)
        assert "Raises" in doc or name == "explain"


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in ("design", "derivation", "performance"))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_inside_the_documents_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / name).parent.joinpath(target).exists(), target


def test_examples_of_the_docstrings_run():
    import doctest

    for path in sorted((ROOT / "src/chainrule").glob("*.py")):
        module = __import__(f"chainrule.{path.stem}", fromlist=["_"]) if path.stem != "__init__" else chainrule
        outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert outcome.failed == 0, path.stem


@pytest.mark.slow
def test_without_a_compiler_the_textbook_engine_is_installed(tmp_path):
    """`pip install .` succeeds, says once that the slow engine runs, and how to have the fast one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CHAINRULE")}
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".venv*", "build", ".git", "*.so"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(source)],
        env={**environment, "CXX": "/bin/false", "CC": "/bin/false"}, check=True,
    )  # fmt: skip
    assert not list((site / "chainrule").glob("_native*.so"))
    code = f"""
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__]  # the checkout under test
sys.path.insert(0, {str(site)!r})
import chainrule
print([chainrule.Network([2, 1]).engine for _ in range(3)], chainrule.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert str(tmp_path) in done.stdout
    assert done.stdout.count("reference") == 3
    assert done.stderr.count("RuntimeWarning") == 1
    assert "installed without a C++20 compiler" in done.stderr
