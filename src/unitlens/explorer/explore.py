"""The explorer as one Panel object: in a notebook, as a served page, or saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import ArgumentError, UnitlensError
from unitlens.explorer.keyboard_design import with_focus_marked
from unitlens.explorer.text_panes import heading, text_line
from unitlens.explorer.unit_columns import UnitName
from unitlens.explorer.unit_link import link_to_unit, unit_of_link
from unitlens.extras import naming_extras
from unitlens.tables.results import Results, open_results

if TYPE_CHECKING:
    from panel.viewable import Viewable

TABS = ("Overview", "Unit", "Layers and runs", "Epochs", "Sample")


@naming_extras()
def explore(
    results: str | Path | Results | xr.DataTree | None = "results",
    *,
    importance: xr.Dataset | None = None,
    dataset: Any = None,
) -> "Viewable":
    """Explore the units of a results folder, or of an own model.

    Parameters
    ----------
    results
        The results directory, a URL that it was copied to, or what :func:`open_results` returned.
        For an own model, what :func:`open_activations` returned; None without a store.
    importance
        For an own model, what :func:`unit_ablation` returned, or any table of units.
    dataset
        For an own model, the data set that the activations were recorded over.

    Returns
    -------
    A Panel object. Of a results folder, five tabs: all units, with two measures against each
    other; one unit; layers and runs; kept epochs of one run; one sample. Of an own model, the page
    of one unit after another. In a notebook, the object shows itself as the last line of a cell,
    without network. It is live in JupyterLab by the extension ``pyviz_comms``, which comes with
    Panel: where JupyterLab has an environment of its own, ``pip install pyviz_comms`` there. In
    VS Code, ``pip install jupyter_bokeh``. In a script that ``panel serve`` runs, call
    ``.servable()``. Numbers are read
    when they are first shown. A table that the results lack is left out with a line.

    Raises
    ------
    TableError
        Where the directory holds no results, or its tables are damaged.
    ArgumentError
        Where `importance` or `dataset` is given beside a results folder, or neither activations
        nor importance are.
    MissingPackageError
        Where the packages of ``unitlens[explore]`` are not installed.

    Examples
    --------
    ``ul.explore("results")`` as the last line of a cell shows the explorer in a notebook;
    ``unitlens explore results`` serves it as a page. Before there are results:

    >>> import unitlens as ul
    >>> ul.explore("nowhere")
    Traceback (most recent call last):
    ...
    unitlens.errors.TableError: there are no results in nowhere (no tables.json); make them: ...
    """
    import panel as pn

    pn.extension("tabulator", inline=True)  # a notebook, too, shows it without network
    return with_focus_marked(_shown(results, importance, dataset))


def _shown(results: Any, importance: xr.Dataset | None, dataset: Any) -> "Viewable":
    if results is None or isinstance(results, xr.DataTree):
        from unitlens.explorer.own_units import own_units

        return own_units(results, importance, dataset)
    if importance is not None or dataset is not None:
        raise ArgumentError(
            "importance or dataset is given beside a results folder, but belongs to an own model; "
            "give the activations of the model, or None, as results"
        )
    opened = results if isinstance(results, Results) else open_results(results)
    return _Explorer(opened).view()


def _runs(results: Results) -> "Viewable":
    from unitlens.explorer.run_tab import RunTab

    return RunTab(results).view()


def _sample(results: Results) -> "Viewable":
    from unitlens.explorer.sample_tab import SampleTab

    return SampleTab(results).view()


def _epochs(results: Results) -> "Viewable":
    """Return the tab of kept epochs, or the line that says why there is none."""
    from unitlens.explorer.epoch_tab import EpochTab

    try:
        return EpochTab(results).view()
    except UnitlensError as error:
        return text_line(str(error))


class _Explorer:
    """The tabs, and what one tells the others."""

    def __init__(self, results: Results) -> None:
        import panel as pn

        self._results = results
        self._location: Any = pn.state.location
        # Not pn.Tabs: the keyboard reaches its tabs, but does not open them.
        self._tab = pn.widgets.RadioButtonGroup(label="view", options=list(TABS), value=TABS[0])
        self._shown = {name: pn.Column(sizing_mode="stretch_width") for name in TABS}
        # What these tabs show is made when it is first looked at.
        self._later = dict(zip(TABS[2:], (_runs, _epochs, _sample), strict=True))
        for name, view in zip(TABS[:2], self._of_units(), strict=True):
            self._shown[name][:] = [view]
        self._tab.param.watch(self._show, "value")
        self._show()

    def _show(self, *_: Any) -> None:
        chosen = self._tab.value
        make = self._later.pop(chosen, None)
        for name, view in self._shown.items():
            view.visible = name == chosen
        if make is not None:
            self._shown[chosen][:] = [make(self._results)]

    def _of_units(self) -> "list[Viewable]":
        from unitlens.explorer.overview import Overview
        from unitlens.explorer.unit_columns import columns_of
        from unitlens.explorer.unit_tab import UnitTab

        try:
            columns = columns_of(self._results)
        except UnitlensError as error:
            return [text_line(str(error)), text_line(str(error))]
        if not columns.size or not columns.measures:
            told = f"The table of units in {self._results.directory} has no unit with a measure."
            return [text_line(told), text_line(told)]
        overview = Overview(columns, self._open)
        self._unit = UnitTab(self._results, columns, lambda: overview.selected, self._link)
        asked = unit_of_link(getattr(self._location, "search", "") or "")
        if asked is not None:
            self._unit.open_named(asked)
            self._tab.value = "Unit"
        return [overview.view(), self._unit.view()]

    def _open(self, unit: UnitName) -> None:
        self._unit.open_named(unit)
        self._tab.value = "Unit"

    def _link(self, unit: UnitName) -> None:
        if self._location is not None:
            self._location.search = link_to_unit(unit)

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        runs = self._results.runs.sizes["run"]
        told = f"{runs} {'network' if runs == 1 else 'networks'} in {self._results.directory}"
        failed = self._results.failed
        left_out = [text_line(f"Left out: {run} ({reason})") for run, reason in failed.items()]
        return pn.Column(
            heading("Units of trained networks", level=1),
            text_line(told),
            *left_out,
            self._tab,
            *self._shown.values(),
            sizing_mode="stretch_width",
        )
