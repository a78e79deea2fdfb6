"""The folder of an experiment: a configuration, and a Snakefile that uses the workflow."""

import shutil
from pathlib import Path

from unitlens.errors import ArgumentError
from unitlens.workflow.workflow_files import CONFIG, PRESETS, PROFILES, ROOT

OWN_SNAKEFILE = '''\
"""The installed workflow of unitlens as a module; rules of your own can follow."""

from unitlens.workflow.workflow_files import SNAKEFILE

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


module unitlens:
    snakefile:
        SNAKEFILE
    config:
        config


use rule * from unitlens


onstart:
    unitlens.onstart()
'''


def begin_experiment(directory: Path) -> list[Path]:
    """Write what an experiment begins with: a configuration and a Snakefile that uses the workflow.

    The configuration is that of the default experiment. The other presets and the profiles of
    Snakemake are written beside it.

    Parameters
    ----------
    directory
        The folder, which is made where there is none.

    Returns
    -------
    The files that were written: ``config.yaml``, ``Snakefile``, those of ``presets`` and of
    ``profiles``.

    Raises
    ------
    ArgumentError
        Where one of the files is there already. Nothing is written then.
    """
    if directory.exists() and not directory.is_dir():
        raise ArgumentError(f"{directory} is a file, but must be a folder; name another folder")
    sources = [CONFIG, *sorted(PRESETS.glob("*.yaml")), *sorted(PROFILES.glob("*/config.yaml"))]
    copies = {directory / source.relative_to(ROOT): source for source in sources}
    snakefile = directory / "Snakefile"
    for file in (snakefile, *copies):
        if file.exists():
            raise ArgumentError(
                f"{file} exists already, and is not overwritten; name another folder, or remove "
                "the file"
            )
    for file, source in copies.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
    snakefile.write_text(OWN_SNAKEFILE)
    return [snakefile, *copies]
