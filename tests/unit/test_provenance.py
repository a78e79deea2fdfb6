"""The digest of a rule's code changes with the code that the rule can reach, and only with it."""

import sys

import pytest

from unitlens.provenance import code_digest, user_code_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a writer of modules of a package that stands where unitlens stands."""
    monkeypatch.setattr("unitlens.provenance.PACKAGE", tmp_path)

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        for cached in (code_digest, sys.modules["unitlens.provenance"]._imports):
            cached.cache_clear()
        return code_digest("unitlens.zz_top")

    yield write
    write(zz_top="")


def test_code_digest__follows_imports_inside_functions(package):
    source = "def f():\n    from unitlens.zz_low import g\n    return g\n"
    before = package(zz_top=source, zz_low="g = 1\n", zz_other="x = 1\n")

    assert package(zz_other="x = 2\n") == before
    assert package(zz_low="g = 2\n") != before


def test_code_digest__of_several_modules(package):
    package(zz_top="", zz_low="g = 1\n")
    before = code_digest("unitlens.zz_top", "unitlens.zz_low")

    package(zz_low="g = 2\n")
    assert code_digest("unitlens.zz_top", "unitlens.zz_low") != before


def test_code_digest__covers_the_templates_of_a_package(package, tmp_path):
    (tmp_path / "zz_pages").mkdir()
    (tmp_path / "zz_pages/__init__.py").touch()
    (tmp_path / "zz_pages/page.html").write_text("one")
    before = package(zz_top="import unitlens.zz_pages\n")
    (tmp_path / "zz_pages/page.html").write_text("two")

    assert package() != before


def test_code_digest__ignores_the_declaring_floors(package):
    before = package(zz_top="x = 1\n")

    assert package(zz_top="x = 1\n") == before
    assert package(zz_top="from unitlens.config import Config\n") != before
    assert "unitlens.config" not in sys.modules["unitlens.provenance"]._reached("unitlens.zz_top")


def test_user_code_digest__changes_with_the_users_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "zz_mine.py").write_text("one")
    before = user_code_digest("zz_mine:build")
    (tmp_path / "zz_mine.py").write_text("two")

    assert len(before) == 12
    assert user_code_digest("zz_mine:build") != before
    assert user_code_digest("resnet50") == ""
