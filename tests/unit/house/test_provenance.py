"""The digest of a rule's code changes with the code that the rule computes with, and only then."""

import shutil

import pytest

from unitlens.provenance import digests, kept_values, source
from unitlens.provenance.digests import code_digest, digest_as_written, reached_symbols
from unitlens.provenance.same_results import SAME_RESULTS

RULES = [
    "prepare_dataset",
    "train",
    "record_activations",
    "record_part",
    "merge_activations",
    "class_statistics",
    "unit_measures",
    "principal_components",
    "unit_ablation",
    "cumulative_ablation",
    "noise_robustness",
    "perturb_part",
    "merge_tables",
    "tabulate",
    "draw_figures",
    "compare_with_paper",
    "save_explorer",
    "write_report",
]
ENGINE, VALUES = "perturbation.engine", "perturbation.values"
CURVES, NOISE = "perturbation.cumulative_ablation", "perturbation.noise_robustness"
MEASURES = "statistics.measures"
# Rule: modules that it computes with; modules that it does not, near as they are.
REACH = {
    "prepare_dataset": ("data.memory_sets", "training model"),
    "train": (
        "training.train training.epochs training.dense_gradients data.prepare",
        "model.network recording store.writer store.reader store.format",
    ),
    "record_activations": (
        "recording.record model.network training.checkpoints store.writer store.format.encoding",
        "store.verify store.damage store.merge store.reader recording.repair training.train",
    ),
    "record_part": ("recording.record store.format.parts", "store.verify store.merge"),
    "merge_activations": ("store.merge model.weights", "store.verify store.reader recording"),
    "class_statistics": (
        "statistics.blocks statistics.block_kernels store.reader store.format.decoding",
        "statistics.measures store.verify store.writer",
    ),
    "unit_measures": (
        f"{MEASURES}.class_selectivity {MEASURES}.information {MEASURES}.variance",
        "statistics.block_kernels statistics.subspaces store.reader",
    ),
    "principal_components": (
        "statistics.subspaces.principal_components store.format.decoding",
        MEASURES,
    ),
    "unit_ablation": (
        f"perturbation.unit_ablation {VALUES}.clamping {ENGINE}.engine training.checkpoints",
        f"{CURVES} perturbation.bases perturbation.given_directions {NOISE}",
    ),
    "cumulative_ablation": (
        f"{CURVES} perturbation.bases {ENGINE}.chains perturbation.join_curves",
        f"perturbation.unit_ablation {NOISE} perturbation.group_ablation perturbation.first_order",
    ),
    "noise_robustness": (
        f"{NOISE} {ENGINE}.engine",
        f"perturbation.unit_ablation {CURVES} {VALUES}.reference_data",
    ),
    "perturb_part": (
        f"perturbation.unit_ablation {CURVES} {NOISE} perturbation.saved_sums",
        "perturbation.group_ablation perturbation.merge_tables",
    ),
    "merge_tables": ("perturbation.merge_tables", f"perturbation.unit_ablation {CURVES} {ENGINE}"),
    "tabulate": (
        "tables.unit_table analysis.correlations",
        "figures tables.results store.verify",
    ),
    "draw_figures": (
        "figures.memorisation tables.results",
        "report reproduction.verdict reproduction.compare store.writer",
    ),
    "compare_with_paper": ("reproduction.verdict", "report.page figures.memorisation"),
    "save_explorer": (
        "explorer.unit_page explorer.overview_scatter tables.results store.format.decoding",
        "explorer.served_page explorer.run_tab report.page figures.memorisation store.writer",
    ),
    "write_report": (
        "report.page report.chart reproduction.verdict reproduction.evidence_training",
        "figures.memorisation figures.curves",
    ),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a writer of modules of a package that stands where unitlens stands."""
    monkeypatch.setattr(source, "PACKAGE", tmp_path)
    monkeypatch.setattr(digests, "command_modules", lambda: ["unitlens.zz_cli"])

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        forget()
        return code_digest("work")

    yield write
    forget()


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Return the rules whose digest changes when a text in a module of unitlens is replaced."""
    shutil.copytree(source.PACKAGE, tmp_path / "unitlens")
    before = {rule: code_digest(rule) for rule in RULES}
    monkeypatch.setattr(source, "PACKAGE", tmp_path / "unitlens")

    def edit(module, old, new):
        path = tmp_path / "unitlens" / f"{module.replace('.', '/')}.py"
        text = path.read_text()
        assert text.count(old) == 1, (module, old)
        path.write_text(text.replace(old, new))
        forget()
        changed = {rule for rule in RULES if code_digest(rule) != before[rule]}
        path.write_text(text)
        return changed

    yield edit
    forget()


def forget():
    cached = (code_digest, reached_symbols, source.define, source._parse, source._file)
    for function in (*cached, kept_values._state):
        function.cache_clear()


WORK = "def work():\n    from unitlens.zz_low import g\n    return g()\n"
LOW = "def g(x=1):\n    return x + 1\n"


def test_code_digest__follows_what_is_used_and_nothing_else(package):
    both = f"{LOW}\ndef unused():\n    return 1\n"
    before = package(zz_cli=WORK, zz_low=both, zz_other="x = 1\n")

    assert package(zz_other="x = 2\n") == before
    assert package(zz_low=both.replace("return 1", "return 2")) == before
    assert package(zz_low=both.replace("x + 1", "x + 2")) != before


@pytest.mark.parametrize(
    "same",
    [
        LOW.replace("return x", "# a remark\n    return x"),
        LOW.replace("    return", '    """Return more."""\n    return'),
        LOW.replace("x=1", "x: int = 1"),
        LOW.replace("    return x + 1", "    return (\n        x + 1\n    )"),
        LOW.replace("    return", "    logger.info('more')\n    return"),
    ],
)
def test_code_digest__is_that_of_what_is_computed(package, same):
    assert package(zz_cli=WORK, zz_low=LOW) == package(zz_low=same)


def test_code_digest__ignores_what_an_error_says(package):
    refusing = "def g(x):\n    if x:\n        raise ModelError(f'{x} is bad')\n"
    before = package(zz_cli=WORK, zz_low=refusing)

    assert package(zz_low=refusing.replace("is bad", "is not good; leave it")) == before
    assert package(zz_low=refusing.replace("if x", "if not x")) != before
    assert package(zz_low=refusing.replace("ModelError", "StopIteration")) != before


def test_code_digest__is_the_same_where_a_definition_has_moved(package):
    before = package(zz_cli=WORK, zz_low=LOW)

    assert package(zz_low="from unitlens.zz_high import g\n", zz_high=LOW) == before


def test_code_digest__follows_constants_classes_methods_and_modules(package):
    package(
        zz_cli="from unitlens import zz_low\ndef work():\n    return zz_low.Box().f()\n",
        zz_low="from unitlens.zz_deep import SIZE\nclass Box:\n    def f(self): return SIZE\n",
        zz_deep="SIZE = 1\n",
    )
    before = code_digest("work")

    assert package(zz_deep="SIZE = 2\n") != before


def test_code_digest__covers_what_is_defined_at_run_time_only(package):
    low = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    g = 1\nelse:\n    g = 2\n"
    before = package(zz_cli=WORK, zz_low=low)

    assert package(zz_low=low.replace("g = 1", "g = 3")) == before
    assert package(zz_low=low.replace("g = 2", "g = 3")) != before


def test_code_digest__holds_from_where_other_packages_are_imported(package):
    work = "from numpy import mean\ndef work():\n    return mean([1])\n"

    assert package(zz_cli=work) != package(zz_cli=work.replace("numpy", "other"))


def test_code_digest__covers_all_modules_that_may_be_loaded_by_name(package, tmp_path):
    (tmp_path / "zz_room").mkdir()
    (tmp_path / "zz_room/__init__.py").touch()
    (tmp_path / "zz_room/one.py").write_text("X = 1\n")
    loading = (
        "from importlib import import_module\ndef work(name):\n"
        "    return import_module(f'unitlens.zz_room.{name}')\n"
    )
    before = package(zz_cli=loading)
    (tmp_path / "zz_room/one.py").write_text("X = 2\n")

    assert package() != before
    with pytest.raises(
        LookupError, match=r"import_module in line 3 needs the text f'unitlens\.room"
    ):
        package(zz_cli=loading.replace("f'unitlens.zz_room.{name}'", "name"))


def test_code_digest__ignores_the_words_of_a_declared_variable(package):
    declared = "VARIABLE = Variable('x', ('unit',), 'f', '1', 'long name', 'meaning')\n"
    using = "from unitlens.zz_low import VARIABLE\ndef work():\n    return VARIABLE\n"
    before = package(zz_cli=using, zz_low=declared)

    assert package(zz_low=declared.replace("long name", "name").replace("'1'", "'s'")) == before
    assert package(zz_low=declared.replace("'f'", "'i'")) != before


def test_code_digest__covers_files_that_are_named(package, tmp_path):
    (tmp_path / "page.html").write_text("one")
    before = package(zz_cli="def work():\n    return 'page.html'\n")
    (tmp_path / "page.html").write_text("two")

    assert package() != before


def test_code_digest__refuses_names_that_no_module_defines(package):
    with pytest.raises(LookupError, match=r"unitlens.zz_low does not define 'g'"):
        package(zz_cli=WORK, zz_low="")
    with pytest.raises(LookupError, match=r"no subcommand of unitlens\.cli is called 'other'"):
        code_digest("other")


def test_reach__names_every_rule():
    assert set(REACH) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_reach__of_a_rule(rule):
    reached = {symbol.module.removeprefix("unitlens.") for symbol in reached_symbols(rule)}
    within, outside = (set(names.split()) for names in REACH[rule])

    assert within <= reached
    for name in outside:
        assert not {module for module in reached if f"{module}.".startswith(f"{name}.")}


@pytest.mark.parametrize(
    ("module", "old", "new", "rules"),
    [
        ("store.verify", '"""Verifying a store', '"""Checking a store', ""),
        ("store.verify", "def verify_activations(", "SIZE = 1\n\n\ndef verify_activations(", ""),
        ("statistics.measures.class_selectivity", "np.clip(", "np.abs(", "unit_measures"),
        ("statistics.block_kernels", "ranks), np.int64)", "ranks), np.int32)", "class_statistics"),
        (
            "perturbation.order_curves",
            "ablated[:0:-1]",
            "ablated[:0:-2]",
            "cumulative_ablation perturb_part",
        ),
        (
            "training.scoring",
            "torch.zeros((), dtype=torch.int64",
            "torch.ones((), dtype=torch.int64",
            "train",
        ),
        (
            "store.format.decoding",
            '"""Return the bytes before the checksum."""\n',
            "raw = raw[::-1]\n",
            "record_activations record_part merge_activations class_statistics "
            "principal_components draw_figures compare_with_paper save_explorer write_report",
        ),
    ],
)
def test_edit__changes_the_digests_of_just_those_rules(edited, module, old, new, rules):
    assert edited(module, old, new) == set(rules.split())


# Rules whose code has changed since a version, and makes the files of that version bit for bit, but
# for what a later rule works out from them exactly.
AS_BEFORE = {
    ("train",): "b8606ea81666",  # 0.8.0
    ("record_activations", "record_part"): "625f6f7ff33e",  # 0.8.0
    ("unit_ablation",): "4f7359f3419c",  # 0.8.0
}


@pytest.mark.parametrize("commands", AS_BEFORE)
def test_code_digest__of_code_that_changes_no_result_is_that_of_before(commands):
    assert code_digest(*commands) == AS_BEFORE[commands], (
        f"the code of {commands} has the digest {digest_as_written(*commands)} now: where it "
        "still makes the files of before bit for bit, name this digest in "
        "provenance/same_results.py; where it does not, remove the entry there and here"
    )


def test_same_results__names_the_code_of_today_alone():
    now = {digest_as_written(*commands): before for commands, before in AS_BEFORE.items()}

    assert now == SAME_RESULTS


def test_kept_digest__is_of_the_present_source(edited):
    """A digest is read from the disk where no file has changed, and computed anew where one has."""
    folder = source.PACKAGE / "provenance/__pycache__"
    forget()
    before = code_digest("unit_measures")
    (kept,) = folder.glob("values-*.json")
    forget()
    text = kept.read_text().replace(before, "0" * 12)
    kept.write_text(text)
    assert code_digest("unit_measures") == "0" * 12  # it is read, not computed
    path = source.PACKAGE / "errors.py"
    path.write_text(path.read_text() + "\n")
    forget()

    assert code_digest("unit_measures") == before
    assert len(list(folder.glob("values-*.json"))) == 1
