"""The floors of the house hold, and sizes stay readable."""

import ast
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = sorted((ROOT / "src").rglob("*.py"))


def test_floors__import_only_from_those_under_them():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_module__is_short(path):
    source = path.read_text()
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    long = [function.name for function in functions if body_lines(function) > 60]

    assert source.count("\n") <= 400
    assert not long


def body_lines(function):
    """Return the number of lines of a function's statements, without its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - statements[0].lineno + 1 if statements else 0


def test_names__of_modules_and_classes_are_used_once():
    modules = [path.stem for path in MODULES if path.stem != "__init__"]
    classes = [
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]

    for names in (modules, classes):
        assert [name for name, times in Counter(names).items() if times > 1] == []


def test_packages__import_nothing_but_the_public_one():
    """An import of a package brings no more than what is asked of it, and no name has two homes."""
    for path in MODULES:
        if path.name == "__init__.py" and path.parent.name not in ("unitlens", "plot"):
            (docstring,) = ast.parse(path.read_text()).body
            assert isinstance(docstring, ast.Expr)


def test_package__loads_neither_torch_nor_xarray_until_asked():
    code = "import sys, unitlens; print(sorted({'torch', 'xarray', 'dask'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_measuring__does_not_import_the_compiler_of_torch():
    """It would cost each job of a workflow more than a second."""
    code = (
        "import sys, torch, unitlens as ul; from torch.utils.data import TensorDataset;"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4), torch.nn.ReLU(),"
        "torch.nn.Linear(4, 3)).eval();"
        "data = TensorDataset(torch.rand(5, 2, 3), torch.tensor([0, 1, 2, 0, 1]));"
        "ul.unit_ablation(model, data); ul.cumulative_ablation(model, data, orders=2);"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_results__open_without_torch():
    code = "import sys; from unitlens.tables.results import Results; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_public_names__are_all_there_and_documented_with_an_example():
    import unitlens

    for name in unitlens.__all__:
        documented = getattr(unitlens, name)
        assert callable(documented), name
        assert not inspect.isfunction(documented) or ">>> " in documented.__doc__, name


def test_public_names__have_the_homes_that_type_checkers_see():
    import unitlens

    declared = {
        alias.name: node.module
        for node in ast.walk(ast.parse((ROOT / "src/unitlens/__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("unitlens.")
        if node.module != "unitlens.extras"  # what tells an import that fails
        for alias in node.names
    }
    assert declared == unitlens._HOMES
    assert declared.keys() - {"verify_store"} == set(unitlens.__all__)  # an alias for a version


def test_plots__are_all_there_with_an_example_and_the_homes_that_type_checkers_see():
    import unitlens.plot

    declared = {
        alias.name: node.module
        for node in ast.walk(ast.parse((ROOT / "src/unitlens/plot/__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("unitlens.plot.")
        for alias in node.names
    }
    assert declared == unitlens.plot._HOMES
    assert sorted(declared) == unitlens.plot.__all__
    assert all(">>> " in getattr(unitlens.plot, name).__doc__ for name in declared)
