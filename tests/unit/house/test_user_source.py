"""The digest of the user's code covers the modules that a function's module imports."""

import sys

import pytest

from unitlens.provenance.user_source import user_code_digest, user_modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user in the current directory, with a module that nothing imports."""
    monkeypatch.chdir(tmp_path)
    files = {
        "nets/__init__.py": "",
        "nets/mine.py": "import os\nfrom . import blocks\nfrom nets.sizes import WIDTH\n",
        "nets/blocks.py": "def block():\n    from .deep import layers\n    return layers\n",
        "nets/deep/__init__.py": "",
        "nets/deep/layers.py": "import helpers\n",
        "nets/sizes.py": "WIDTH = 3\n",
        "nets/other.py": "OTHER = 1\n",
        "helpers.py": "HELP = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_user_modules__are_those_that_are_imported_under_the_root(package):
    names = [name for name, _ in user_modules("nets.mine")]

    assert names == [
        "helpers",
        "nets",
        "nets.blocks",
        "nets.deep",
        "nets.deep.layers",
        "nets.mine",
        "nets.sizes",
    ]


@pytest.mark.parametrize(
    "file", ["nets/mine.py", "nets/blocks.py", "nets/deep/layers.py", "nets/sizes.py", "helpers.py"]
)
def test_digest__changes_with_each_module(package, file):
    before = user_code_digest("nets.mine:make")
    (package / file).write_text((package / file).read_text() + "\nCHANGED = 1\n")

    assert len(before) == 12
    assert user_code_digest("nets.mine:make") != before


def test_digest__ignores_comments_and_modules_that_are_not_imported(package):
    before = user_code_digest("nets.mine:make")
    (package / "nets/other.py").write_text("OTHER = 2\n")
    (package / "nets/sizes.py").write_text("# wider\nWIDTH = 3\n")

    assert user_code_digest("nets.mine:make") == before


def test_digest__of_an_installed_package_covers_that_package_alone(tmp_path, monkeypatch):
    root = tmp_path / "site-packages"
    (root / "theirs").mkdir(parents=True)
    (root / "theirs/__init__.py").write_text("import another\n")
    (root / "another.py").write_text("A = 1\n")
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    monkeypatch.chdir(tmp_path)

    assert [name for name, _ in user_modules("theirs")] == ["theirs"]


def test_digest__covers_a_module_that_is_no_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zz_mine.py").write_text("one two")
    before = user_code_digest("zz_mine:build")
    (tmp_path / "zz_mine.py").write_text("two three")

    assert user_code_digest("zz_mine:build") != before
    assert user_code_digest("resnet50") == ""
    assert user_code_digest("zz_nowhere:build") == ""
