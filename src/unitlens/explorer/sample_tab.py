"""The tab of one sample: the sample itself, and the units that respond most to it, by layer."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.sample_facts import (
    CLASS_MOMENTS,
    sample_label,
    sample_responses,
    strongest_units,
)
from unitlens.explorer.text_panes import heading, text_line
from unitlens.explorer.unit_charts import class_label
from unitlens.explorer.unit_columns import short_names
from unitlens.explorer.unit_images import read_samples
from unitlens.explorer.unit_markup import shown_sample
from unitlens.explorer.unit_source import SPLITS, UnitSource, opened_source

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from unitlens.tables.results import Results

_COLUMNS = {
    "channel": "channel",
    "activation": "activation",
    "class_mean": "mean of the class",
    "deviation": "deviation (standard deviations of the class)",
}


class SampleTab:
    """What the units of a run do on one sample.

    Parameters
    ----------
    results
        The results.
    """

    def __init__(self, results: "Results") -> None:
        import panel as pn

        self._results = results
        names = [str(name) for name in results.runs["run"].values]
        options = dict(zip(short_names(names), names, strict=True))
        self._run = pn.widgets.Select(label="run", options=options, width=330)
        self._split = pn.widgets.Select(label="split", options=list(SPLITS), width=90)
        self._sample = pn.widgets.IntInput(label="sample", value=0, start=0, width=110)

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        shown = pn.bind(self._drawn, self._run, self._split, self._sample)
        return pn.Column(
            pn.FlexBox(self._run, self._split, self._sample),
            pn.panel(shown, loading_indicator=True, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _drawn(self, run: str, split: str, sample: int | None) -> "Viewable":
        import panel as pn

        try:
            source = opened_source(self._results, run, split)
            statistics, why = _opened_statistics(self._results, run, split)
            responses = sample_responses(source, sample or 0, statistics)
        except UnitlensError as error:
            return text_line(str(error))
        told = [text_line(f"the class's means are left out: {why}")] if why else []
        parts = [*told, *_sample_part(source, sample or 0)]
        parts += [_layer_part(responses, layer) for layer in source.channels]
        return pn.Column(*parts, sizing_mode="stretch_width")


@lru_cache(2)  # the file of the statistics is hashed whole each time that it is opened
def _opened_statistics(results: "Results", run: str, split: str) -> tuple[xr.Dataset | None, str]:
    """Return the class statistics, or why there are none."""
    try:
        return results.class_statistics(run, split, variables=CLASS_MOMENTS), ""
    except UnitlensError as error:
        return None, str(error)


def _sample_part(source: UnitSource, sample: int) -> list[Any]:
    """Return the sample itself and its classes, in words."""
    import panel as pn

    stored = {} if source.activations is None else source.activations.coords
    words = []
    for name, what in (("label", "labelled"), ("prediction", "taken for")):
        if name in stored and sample_label(source, sample) is not None:
            number = int(stored[name].isel(sample=sample))
            words.append(f"{what} {class_label(source.class_names, number)}")
    told = f"sample {sample}" + "".join(f", {word}" for word in words)
    parts: list[Any] = [heading(told)]
    if source.dataset is None:
        return [*parts, text_line(source.missing.get("dataset", ""))]
    name = "item" if "item" in stored else "index"
    try:
        (view,) = read_samples(source.dataset, [int(stored[name].isel(sample=sample))])
    except UnitlensError as error:
        return [*parts, text_line(f"the sample itself is left out: {error}")]
    return [
        *parts,
        pn.pane.HTML(shown_sample(view)),
        *([text_line(view.note)] if view.note else []),
    ]


def _layer_part(responses: xr.Dataset, layer: str) -> Any:
    """Return the units of a layer that respond most."""
    import panel as pn

    strongest = strongest_units(responses, layer)
    names = [name for name in _COLUMNS if name in strongest.variables]
    frame = strongest.to_dataframe()[names].rename(columns=_COLUMNS)
    table = pn.pane.DataFrame(frame, index=False, escape=True, float_format="{:.4g}".format)
    most = "of largest activation"
    if "deviation" in strongest:
        most = "that exceed the mean of the sample's class most"
    return pn.Column(heading(f"{layer}: units {most}"), table)
