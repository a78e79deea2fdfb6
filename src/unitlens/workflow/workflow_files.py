"""Where the files of the workflow are.

A wheel brings them into this folder. In a repository they are at its top.
"""

from pathlib import Path

_ROOM = Path(__file__).resolve().parent

IN_REPOSITORY = not (_ROOM / "workflow" / "Snakefile").is_file()
ROOT = _ROOM.parents[2] if IN_REPOSITORY else _ROOM
PRESETS = ROOT / "presets"
PROFILES = ROOT / "profiles"
CONFIG = ROOT / "config.yaml"

# The Snakefile of the workflow, for `module unitlens: snakefile: SNAKEFILE` in another one.
SNAKEFILE = str(ROOT / "workflow" / "Snakefile")
