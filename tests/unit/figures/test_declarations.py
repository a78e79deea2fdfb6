"""A figure is a declaration and two functions; everything else follows from the two."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docutils.core import publish_doctree
from jinja2 import Environment, StrictUndefined

import unitlens
from synthetic_results import network, write_results
from unitlens.catalogue.figures import FIGURES
from unitlens.config.measurements import MeasurementSpec
from unitlens.errors import TableError
from unitlens.figures.draw import functions_of, report_caption
from unitlens.figures.needs import UnmetNeedError, figure, finding
from unitlens.provenance.digests import code_digest

PACKAGE = Path(unitlens.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in (PACKAGE / "figures").glob("*.py")}

# The recipe "Add a figure" of CONTRIBUTING.md.
MODULE = '''
"""A figure of the test accuracy of networks."""

from unitlens.figures.needs import figure, finding, require_runs, require_values
from unitlens.plot.style import new_figure


@figure
def accuracy_by_run(results, runs):
    """Draw the test accuracy of each network."""
    drawn = new_figure()
    drawn.subplots().plot(require_values(require_runs(results, runs), "test_accuracy"))
    return drawn


@finding
def accuracy_by_run_finding(results, runs):
    """Tell the largest test accuracy."""
    return f"Best: {require_values(require_runs(results, runs), 'test_accuracy').max():.3f}."
'''
DECLARATION = """
        FigureDeclaration(
            name="accuracy_by_run",
            module="accuracies",
            title="Accuracy of networks",
            caption="Test accuracy of each network.",
            needs=("unit_ablation",),
        ),
"""
USE = """
import json, sys
import unitlens
from unitlens.config.key_reference import config_schema
from unitlens.config.reading import parse_config
from unitlens.errors import ConfigError, TableError
from unitlens.figures.draw import draw_figures
from unitlens.provenance.digests import code_digest

def refused(function, *arguments):
    try:
        function(*arguments)
    except (ConfigError, TableError) as error:
        return str(error)

results, directory = sys.argv[1:]
figures = {"accuracy_by_run": ["memo"]}
memo = {"dataset": {"name": "digits"}, "model": {"name": "mlp", "widths": [3]},
        "training": {"epochs": 1}}
config = {"experiments": {"memo": memo}, "figures": figures}
draw_figures(results, figures, directory)
print(json.dumps({
    "package": unitlens.__file__,
    "parsed": list(parse_config(config).figures),
    "refused": refused(parse_config, config | {"measurements": {"unit_ablation": None}}),
    "none": refused(draw_figures, results, {"accuracy_by_run": []}, directory),
    "schema": "accuracy_by_run" in json.dumps(config_schema()),
    "digest": code_digest("draw_figures"),
}))
"""


def functions_with(decorator):
    """Return the modules of the functions that bear a decorator, by the functions' names."""
    return {
        node.name: module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and decorator in [one.id for one in node.decorator_list if isinstance(one, ast.Name)]
    }


def test_functions__are_those_of_the_declarations():
    drawing = {name: declared.module for name, declared in FIGURES.items()}

    assert functions_with("figure") == drawing
    assert functions_with("finding") == {f"{name}_finding": of for name, of in drawing.items()}
    for name in FIGURES:
        assert [function.__name__ for function in functions_of(name)] == [name, f"{name}_finding"]


def test_names__stand_in_declarations_and_function_names_only():
    texts = {
        node.value
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }

    assert not texts & set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_declaration__names_sections_and_has_words(name):
    declared = FIGURES[name]
    kept = {section for section in declared.needs if section in declared.needs_kept}

    assert declared.name == name
    assert set(declared.needs) <= set(MeasurementSpec.model_fields)
    assert kept == set(declared.needs_kept)
    assert declared.compares is None or "cumulative_ablation" in declared.needs
    assert declared.title.strip()
    assert declared.caption.endswith(".")


@pytest.mark.parametrize(
    "words",
    [
        *((declared.title, declared.caption, "At 0.5 it is 2 %.") for declared in FIGURES.values()),
        ("A title", "{{ x }} {% y %} {# z #} *a* `b` |c| d_ [1]_ \\ e::", "1. r = -.5 (p < .001)"),
        ("- A title", ".. note:: no", "A) training.stop.train_accuracy=0.5 my.module:data_ © ±"),
    ],
)
def test_report_caption__means_its_words(words):
    rendered = Environment(undefined=StrictUndefined).from_string(report_caption(*words)).render()

    assert publish_doctree(rendered).astext().split("\n\n") == list(words)


def test_decorators__put_the_name_in_front():
    def lacking(results, runs):
        raise UnmetNeedError("needs more")

    lacking.__name__ = "shares"
    with pytest.raises(TableError, match=r"^the figure shares needs more$"):
        figure(lacking)(None, [])
    lacking.__name__ = "shares_finding"
    with pytest.raises(TableError, match=r"^the figure shares needs more$"):
        finding(lacking)(None, [])


def test_recipe__takes_a_function_and_a_declaration(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "unitlens", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "unitlens/figures/accuracies.py").write_text(MODULE.lstrip())
    catalogue = tmp_path / "unitlens/catalogue/figures.py"
    head, end, rest = catalogue.read_text().rpartition("    )\n}\n")
    catalogue.write_text(head + DECLARATION.lstrip("\n") + end + rest)
    results = write_results(tmp_path / "results", [network(("memo",))])

    command = [sys.executable, "-c", USE, str(results), str(tmp_path / "drawn")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["package"]).is_relative_to(tmp_path)
    assert told["parsed"] == ["accuracy_by_run"]
    assert "figures.accuracy_by_run needs measurements.unit_ablation" in told["refused"]
    assert told["none"].startswith("the figure accuracy_by_run has no run to show")
    assert told["schema"]
    assert told["digest"] != code_digest("draw_figures")
    (written,) = json.loads((tmp_path / "drawn/figures.json").read_text())["figures"]
    assert written["title"] == "Accuracy of networks"
    assert written["finding"].startswith("Best: 0.")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {
        "figures.json",
        *(f"accuracy_by_run.{kind}" for kind in ("svg", "png", "rst")),
    }
