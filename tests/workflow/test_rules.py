"""The rules are thin, complete, and the workflow passes Snakemake's own checks."""

import re
from pathlib import Path

import pytest
from workflow_runs import ROOT, run

RULE = re.compile(r"^rule (\w+):\n((?:    .*\n|\n)+)", re.MULTILINE)
RULES = {
    name: text
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, text in RULE.findall(path.read_text())
}


@pytest.mark.parametrize("name", RULES)
def test_rule__says_all_that_it_needs(name):
    text = RULES[name]
    directives = re.findall(r"^    (\w+):", text, re.MULTILINE)

    assert {"output", "log", "benchmark", "conda", "threads", "resources", "params"} <= set(
        directives
    )
    assert "mem_mb=" in text
    assert text.lstrip().startswith('"""')
    assert directives[-1] == "shell"
    assert f"python -m unitlens {name.replace('_', '-')} " in text


def test_rules__have_a_subcommand_each():
    listed = run(["unitlens", "--help"]).stdout

    assert len(RULES) == 15
    for name in RULES:
        assert name.replace("_", "-") in listed


def test_snakefile__is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 50


def test_snakemake_lint__is_clean():
    done = run(["snakemake", "--lint"], cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr


def test_snakefmt__is_clean():
    done = run(["snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr


def test_captions__exist_for_every_figure():
    from unitlens.config.experiments import FIGURES

    captions = {path.stem for path in Path(ROOT / "workflow/report").glob("*.rst")}
    assert set(FIGURES) <= captions
