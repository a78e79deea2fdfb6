"""The choice of the split and of the kept epoch that a unit's page shows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from unitlens.errors import UnitlensError
from unitlens.explorer.kept_epochs import END, EPOCH, kept_epochs
from unitlens.explorer.unit_source import OPENED, SPLITS, UnitSource, opened_source

if TYPE_CHECKING:
    from unitlens.tables.results import Results


@dataclass
class WantedRecording:
    """The split and the epoch that were chosen last, which the next page shows too.

    Attributes
    ----------
    split
        The split; None before one was chosen.
    epoch
        The kept epoch; None for the end of training.
    """

    split: str | None = None
    epoch: float | None = None


class RecordingChoice:
    """The controls of a page that choose the split and the epoch of what the page shows.

    Parameters
    ----------
    results, run
        The run.
    wanted
        What was chosen last, which the controls change. What the run lacks is not taken from it:
        the run is shown at the end of training, with the split that was recorded.

    Attributes
    ----------
    changed
        Called with the source of each new choice.
    """

    changed: Callable[[UnitSource], None]

    def __init__(self, results: "Results", run: str, wanted: WantedRecording) -> None:
        import panel as pn

        self._results, self._run, self._wanted = results, run, wanted
        epochs = kept_epochs(results, run)
        self._epoch = pn.widgets.DiscreteSlider(
            label="epoch",
            options=[*epochs, END],
            value=END,
            width=330,
            visible=bool(epochs),
            formatter=EPOCH,
        )
        if wanted.epoch in epochs:
            self._epoch.value = wanted.epoch
        self._split = pn.widgets.RadioButtonGroup(label="split", options=list(SPLITS))
        self._words = pn.pane.HTML("Activations and samples of the split")
        self._offer_splits()
        self._epoch.param.watch(self._take_epoch, "value_throttled")
        self._split.param.watch(self._take_split, "value")

    @property
    def _shown_epoch(self) -> float | None:
        return None if self._epoch.value == END else self._epoch.value

    @property
    def source(self) -> UnitSource:
        """What the page shows by the choice."""
        split = self._split.value if self._split.visible else None
        return opened_source(self._results, self._run, split, self._shown_epoch)

    @property
    def view(self) -> Any:
        """The controls."""
        import panel as pn

        return pn.FlexBox(self._words, self._split, self._epoch, gap="6px")

    def _offer_splits(self) -> None:
        """Show the choice of the split where both were recorded."""
        splits = _recorded_splits(self._results, self._run, self._shown_epoch)
        self._split.visible = self._words.visible = len(splits) > 1
        self._split.value = self._wanted.split if self._wanted.split in splits else SPLITS[0]

    def _take_split(self, event: Any) -> None:
        if event.new != self._wanted.split and self._split.visible:
            self._wanted.split = event.new
            self.changed(self.source)

    def _take_epoch(self, _event: Any) -> None:
        self._wanted.epoch = self._shown_epoch
        self._offer_splits()
        self.changed(self.source)


@lru_cache(8 * OPENED)
def _recorded_splits(results: "Results", run: str, epoch: float | None) -> tuple[str, ...]:
    found = []
    for name in SPLITS:
        try:
            results.activations(run, name, epoch=epoch)
        except UnitlensError:
            continue
        found.append(name)
    return tuple(found)
