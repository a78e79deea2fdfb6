"""A plan that needs a package that is not installed is refused, with the remedy."""

import pytest
from workflow_runs import TINY

from unitlens.config.reading import parse_config
from unitlens.errors import MissingPackageError
from unitlens.planning.needed_packages import check_packages
from unitlens.planning.plan import make_plan


@pytest.mark.parametrize("package", ["panel", "holoviews", "datashader"])
def test_explorer__needs_its_extra(package, monkeypatch):
    monkeypatch.setattr(
        "unitlens.extras.find_spec", lambda name: None if name == package else object()
    )
    check_packages(make_plan(parse_config(TINY)))

    told = rf"explorer = true: .*package {package}.*; pip install 'unitlens\[explore\]' installs"
    with pytest.raises(MissingPackageError, match=told):
        check_packages(make_plan(parse_config({**TINY, "explorer": True})))


def test_explorer__is_planned_where_its_packages_are_installed():
    check_packages(make_plan(parse_config({**TINY, "explorer": True})))
