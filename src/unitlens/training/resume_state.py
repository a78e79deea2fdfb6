"""The state of an unfinished training on disk, from which a killed training resumes."""

import io
import logging
import pickle
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.errors import ModelError, first_line
from unitlens.hashed_files import read_hashed, replacing_hashed
from unitlens.memory_errors import lacks_memory
from unitlens.training.checkpoints import load_checkpoint, writing_network
from unitlens.training.scoring import SplitScore

logger = logging.getLogger("unitlens")

FOLDER, STATE = "resume", "state.pt"
SECONDS_BETWEEN_SAVES = 5.0
SAVING_SHARE = 0.02  # largest share of the time that is spent on saving


@dataclass
class TrainingProgress:
    """The progress of a training.

    Attributes
    ----------
    history
        Scores on the training and the test set, before training and after each epoch.
    step
        Number of finished steps of an interrupted epoch.
    generators
        States of the random generators after these steps.
    """

    history: list[tuple[SplitScore, SplitScore]] = field(default_factory=list)
    step: int = 0
    generators: list[Tensor] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished and scored epochs."""
        return len(self.history) - 1


class ResumeFolder:
    """The folder ``directory/resume``, which holds the state of a training until its end.

    Parameters
    ----------
    directory
        Directory of the run.
    identity
        Hash over everything that determines the training. A state with another hash is removed.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self.path = directory / FOLDER
        self._identity = identity
        self._last = time.monotonic()
        self._pause = SECONDS_BETWEEN_SAVES

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingProgress | None:
        """Load the state into a model and its optimiser, and return the progress.

        Returns
        -------
        The progress; None where there is no state of this training.
        """
        state = self._read_state()
        if state.get("identity") != self._identity:
            self.remove()
            return None
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = [(SplitScore(*train), SplitScore(*test)) for train, test in state["history"]]
        return TrainingProgress(history, state["step"], state["generators"])

    def _read_state(self) -> dict[str, Any]:
        """Return the state; an empty dictionary, with a warning, where it is damaged."""
        path = self.path / STATE
        if not path.exists():
            return {}
        try:
            content = read_hashed(path, error=ModelError, remedy="nothing needs to be done")
            state: dict[str, Any] = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
            for name in state["kept"]:
                load_checkpoint(self.path / name)
        except ModelError as error:
            logger.warning("the training starts over, for %s", error)
            return {}
        except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            if lacks_memory(error):
                raise
            logger.warning(
                "the training starts over, for %s is of another version (%s)",
                path,
                first_line(error),
            )
            return {}
        return state

    def is_due(self) -> bool:
        """Tell whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self._pause

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainingProgress
    ) -> None:
        """Write the state, whole or not at all."""
        start = time.monotonic()
        state: dict[str, Any] = {
            "identity": self._identity,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": [
                ((train.loss, train.accuracy), (test.loss, test.accuracy))
                for train, test in progress.history
            ],
            "step": progress.step,
            "generators": progress.generators,
            "kept": sorted(folder.name for folder in self.path.glob("epoch-*")),
        }
        with writing_network(self.path.parent):
            self.path.mkdir(parents=True, exist_ok=True)
            with replacing_hashed(self.path / STATE) as partial:
                torch.save(state, partial)
        self._last = time.monotonic()
        self._pause = max(SECONDS_BETWEEN_SAVES, (self._last - start) / SAVING_SHARE)

    def remove(self) -> None:
        """Remove the state, then the kept epochs beside it: a kill between leaves no state."""
        with writing_network(self.path.parent):
            (self.path / STATE).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
