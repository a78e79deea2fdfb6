"""Files of a finished results folder are damaged: right values, or an error in one line."""

import random
import shutil
from collections import Counter

import pytest

from faults.damage import DAMAGES, KINDS, Aftermath, copy_sharing, damage_file, files_of
from faults.stages import ALL

pytestmark = pytest.mark.slow

CASES = 125 if ALL else 1  # of each kind of file


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "_"))
def test_a_damaged_file__gives_right_values_or_an_error(server, undisturbed, tmp_path, kind):
    generator = random.Random(kind.name)
    counts, wrong = Counter(), []
    for number in range(CASES):
        how = DAMAGES[number % len(DAMAGES)] if ALL else generator.choice(DAMAGES)
        directory = tmp_path / "case"
        shutil.rmtree(directory, ignore_errors=True)
        copy_sharing(undisturbed.directory, directory)
        files = files_of(directory / "results", kind)
        path = generator.choice(files)
        if not damage_file(path, how, generator, files):
            counts["unchanged"] += 1
            continue
        outcome = Aftermath(server, undisturbed, directory).outcome(kind, path, how)
        if outcome in ("right", "refused"):
            counts[outcome] += 1
        else:
            wrong.append(f"{how} of {path.relative_to(directory)}: {outcome}")
    print(f"{kind.name}: {dict(counts)}, {len(wrong)} wrong")  # noqa: T201  the account
    assert not wrong, f"{len(wrong)} of {CASES}:\n" + "\n".join(wrong)
    assert counts["refused"] or not ALL, "no damage was noticed"
