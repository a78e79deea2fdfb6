"""The floors of the house hold, and sizes stay readable."""

import ast
import subprocess
import sys
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
    long = [f.name for f in functions if f.end_lineno - f.lineno + 1 > 60]

    assert source.count("\n") <= 400
    assert not long


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


def test_public_names__are_all_there():
    import unitlens

    for name in unitlens.__all__:
        assert callable(getattr(unitlens, name)), name
