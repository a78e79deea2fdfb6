"""Put the layer of faults under each Python process that has this folder on its path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from faults.injection import install_from_environment

install_from_environment()
