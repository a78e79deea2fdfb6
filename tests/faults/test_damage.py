"""Files of a finished results folder are damaged: right values, or an error in one line."""

import random
from collections import Counter

import pytest

from faults.damage import DAMAGES, KINDS, OUTCOMES, Aftermath, damage_file, files_of
from faults.stages import ALL
from faults.tree_states import restore

pytestmark = pytest.mark.slow

CASES = 125 if ALL else 1  # of each kind of file


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "_"))
def test_a_damaged_file__gives_right_values_or_an_error(
    server, undisturbed, tmp_path, record_property, kind
):
    generator = random.Random(kind.name)
    counts, wrong = Counter(), []
    for number in range(CASES):
        directory = tmp_path / "case"
        restore(undisturbed.directory, directory)
        path, how = damage_one(directory / "results", kind, generator, number)
        outcome, words = Aftermath(server, undisturbed, directory).outcome(kind, path, how)
        counts[outcome] += 1
        if outcome not in ("right", "refused"):
            wrong.append(f"{how} of {path.relative_to(directory)}: {words}")
    row = {"cases": CASES, **{outcome: counts[outcome] for outcome in OUTCOMES}}
    record_property("account", {"table": "damages", "of": kind.name, **row})
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong)
    assert counts["refused"] or not ALL, "no damage was noticed"


def damage_one(results, kind, generator, number):
    """Damage a file of a kind, each damage in turn; return the file and the damage."""
    files = files_of(results, kind)
    how = DAMAGES[number % len(DAMAGES)] if ALL else generator.choice(DAMAGES)
    path = generator.choice(files)
    while not damage_file(path, how, generator, files):
        # Nothing to swap with, or zeros already.
        how, path = generator.choice(DAMAGES), generator.choice(files)
    return path, how
