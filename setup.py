"""What pyproject.toml cannot say: the wheel holds the workflow from the top of the repository."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Where they lie in the repository; in the wheel they lie in unitlens/workflow, beside each other
# as here, so that their paths to each other hold.
WORKFLOW = ("config.yaml", "workflow", "envs", "presets", "profiles")


class BuildWithWorkflow(build_py):
    """Copies the package, and the workflow into it."""

    def run(self) -> None:
        """Build; an editable installation finds the workflow in the repository."""
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / "unitlens"
        # What an earlier build left would go into the wheel: modules that are gone from the source.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        target = package / "workflow"
        for name in WORKFLOW:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, dirs_exist_ok=True)
            else:
                shutil.copy(name, target / name)


setup(cmdclass={"build_py": BuildWithWorkflow})
