"""The state of an unfinished training on disk, from which a killed one goes on."""

import pickle
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.training.scoring import SplitScore

FOLDER, STATE = "resume", "state.pt"
SECONDS_BETWEEN_SAVES = 5.0
SHARE_OF_SAVING = 0.02  # of the time, at most, where the state is large


@dataclass
class Progress:
    """How far a training has come.

    `history` holds the scores on both splits before training and after each epoch; `step` counts
    the steps done of an interrupted epoch, and `generators` are the random states after them.
    """

    history: list[tuple[SplitScore, SplitScore]] = field(default_factory=list)
    step: int = 0
    generators: list[Tensor] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of epochs that are over and scored."""
        return len(self.history) - 1


class ResumeFolder:
    """Keeps the state of a training in ``directory/resume`` until it is finished.

    Parameters
    ----------
    directory
        Directory of the run.
    identity
        Of all that determines the training: the state of another one is ignored.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self.path = directory / FOLDER
        self._identity = identity
        self._last = time.monotonic()
        self._pause = SECONDS_BETWEEN_SAVES

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Fill model and optimiser from the state, if there is one, and return how far it is."""
        try:
            state = torch.load(self.path / STATE, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            state = {}
        if state.get("identity") != self._identity:
            self.remove()
            return None
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = [(SplitScore(*train), SplitScore(*test)) for train, test in state["history"]]
        return Progress(history, state["step"], state["generators"])

    def is_due(self) -> bool:
        """Tell whether the last state is old enough for another one."""
        return time.monotonic() - self._last >= self._pause

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state as a whole or not at all."""
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
        }
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"{STATE}.partial"
        torch.save(state, partial)
        partial.replace(self.path / STATE)
        self._last = time.monotonic()
        self._pause = max(SECONDS_BETWEEN_SAVES, (self._last - start) / SHARE_OF_SAVING)

    def remove(self) -> None:
        """Remove the state and all that was kept beside it."""
        shutil.rmtree(self.path, ignore_errors=True)
