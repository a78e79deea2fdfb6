"""The rules are thin, complete, and the workflow passes Snakemake's own checks."""

import re

import pytest
from workflow_runs import ROOT, run

RULE = re.compile(r"^rule (\w+):\n((?:    .*\n|\n)+)", re.MULTILINE)
RULES = {
    name: text
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for name, text in RULE.findall(path.read_text())
}


# Written by Snakemake itself, from what it has parsed: no subcommand sees the whole configuration.
OWN_RULES = {"write_plan"}


@pytest.mark.parametrize("name", sorted(RULES.keys() - OWN_RULES))
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

    assert len(RULES) == 20
    assert {name for name, text in RULES.items() if "    run:" in text} == OWN_RULES
    for name in sorted(RULES.keys() - OWN_RULES):
        assert name.replace("_", "-") in listed


def test_snakefile__is_short():
    assert len((ROOT / "workflow/Snakefile").read_text().splitlines()) <= 50


def test_snakemake_lint__is_clean():
    done = run(["snakemake", "--lint"], cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr


def test_snakefmt__is_clean():
    done = run(["snakefmt", "--check", "Snakefile", "workflow"], cwd=ROOT)

    assert done.returncode == 0, done.stdout + done.stderr


def test_captions__that_are_files_are_named_by_a_rule():
    rules = (ROOT / "workflow/rules/report.smk").read_text() + (
        ROOT / "workflow/Snakefile"
    ).read_text()
    named = re.findall(r'"[./\w]*report/(\w+\.rst)"', rules)

    assert sorted(named) == sorted(path.name for path in (ROOT / "workflow/report").iterdir())


def test_captions__of_figures_come_from_the_job_that_draws_them():
    text = RULES["draw_figures"]

    assert 'caption=str(Path(RESULTS).absolute() / f"figures/{figure}.rst")' in text
    assert 'captions=[f"{RESULTS}/figures/{figure}.rst" for figure in PLAN.config.figures]' in text
