"""The user's functions are found by reading, and called only where they are theirs."""

import sys

import pytest

from unitlens.errors import ModelError
from unitlens.user_code import call_user_function, find_problem

MODULE = """
raise RuntimeError("this module was run")
import os
from elsewhere import imported as renamed
value = other = lambda: 1
def function(): ...
class Class: ...
try:
    from fast import build
except ImportError:
    def slow(): ...
if value:
    def under_if(): ...
def outer():
    def inner(): ...
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "zz_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('this package was run')")
    (folder / "module.py").write_text(MODULE)
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "open.py").write_text("from elsewhere import *\n")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    "name", ["renamed", "value", "other", "function", "Class", "build", "slow", "under_if"]
)
def test_find_problem__finds_what_a_module_binds_without_running_it(package, name):
    assert find_problem(f"zz_package.module:{name}") == ""
    assert not {"zz_package", "zz_package.module"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zz_package.module:inner", "has no function 'inner'"),
        ("zz_package.module:functoin", "did you mean 'function'?"),
        ("zz_package.nowhere:f", "module 'zz_package.nowhere' cannot be found; it must lie in"),
        ("zz_nowhere.module:f", "module 'zz_nowhere.module' cannot be found"),
        ("zz_package.module.deeper:f", "module 'zz_package.module.deeper' cannot be found"),
        ("zz_package.broken:f", "cannot be read (SyntaxError: "),
        ("subprocess:call", "is Python's or unitlens's own"),
        ("_posixsubprocess:fork_exec", "is Python's or unitlens's own"),
        ("__main__:f", "is Python's or unitlens's own"),
    ],
)
def test_find_problem__says_what_is_missing(package, name, message):
    assert message in find_problem(name)
    assert len(find_problem(name).splitlines()) == 1


def test_find_problem__leaves_open_what_only_an_import_can_tell(package):
    assert find_problem("zz_package.open:anything") == ""
    assert find_problem("numpy:zeros") == ""


def test_call__refuses_the_standard_library_before_it_is_imported(tmp_path):
    arguments = {"args": ["touch", str(tmp_path / "made")]}

    with pytest.raises(ModelError, match=r"model\.name = 'subprocess:call': the module 'subproc"):
        call_user_function("subprocess:call", arguments, key="model.name", error=ModelError)
    assert not (tmp_path / "made").exists()
