"""An interactive chart of single units that works offline."""

from typing import Any

import numpy as np

from unitlens.analysis.run_groups import group_runs
from unitlens.report.script_data import script_json
from unitlens.tables.results import Results

MAX_POINTS = 3000
_DIGITS = 4
_MEASURES = ("selectivity", "loss_increase", "mutual_information")


def unit_chart(results: Results) -> dict[str, str] | None:
    """Return a chart of importance against selectivity, one dot a unit.

    Parameters
    ----------
    results
        Opened results.

    Returns
    -------
    ``spec``, a Vega-Lite specification as JSON, and ``script``, the JavaScript that draws the
    chart; None where a measure of the chart is missing. The chart shows at most 3,000 units, a
    seeded random sample.
    """
    if not results.has_table("units") or not set(_MEASURES) <= set(results.units.data_vars):
        return None
    rows = _sample_units(results)
    if not rows:
        return None
    from vl_convert import javascript_bundle

    return {"spec": script_json(_specify(rows)), "script": javascript_bundle()}  # type: ignore[call-arg]  # its stub


def _sample_units(results: Results) -> list[dict[str, Any]]:
    """Return a record for each unit of the sample."""
    units = results.units
    measured = np.isfinite(units["selectivity"].values) & np.isfinite(units["loss_increase"].values)
    places = np.random.default_rng(0).permutation(np.flatnonzero(measured))[:MAX_POINTS]
    sample = units.isel(unit=places)
    labels = {run: group.label for group in group_runs(results.runs) for run in group.runs}
    columns: dict[str, list[Any]] = {
        name: [_round(value) for value in sample[name].values.tolist()] for name in _MEASURES
    }
    columns |= {name: sample[name].values.tolist() for name in ("layer", "channel", "run")}
    columns["class"] = sample["preferred_class"].values.tolist()
    columns["networks"] = [labels[run] for run in columns["run"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _round(value: float) -> float | None:
    """Return a number with four significant digits; None for NaN, which JSON lacks."""
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None


def _specify(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the Vega-Lite specification of the chart."""
    import altair as alt

    names = sorted({row["networks"] for row in rows})
    menu = alt.binding_select(
        options=[None, *names], labels=["all networks", *names], name="Show: "
    )
    selection = alt.selection_point(fields=["networks"], bind=menu, name="shown")
    sizes = sorted(abs(row["loss_increase"]) for row in rows)
    threshold = sizes[len(sizes) // 2] or 1e-6
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(size=28)
        .encode(
            x=alt.X("selectivity:Q", title="class selectivity", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(
                "loss_increase:Q",
                title="loss increase when ablated (nats)",
                scale=alt.Scale(type="symlog", constant=threshold, nice=False),
                axis=alt.Axis(format="~g", values=_ticks(threshold, sizes[-1])),
            ),
            color=alt.Color("layer:N", scale=alt.Scale(scheme="viridis")),
            opacity=alt.condition(selection, alt.value(0.55), alt.value(0.02)),
            tooltip=[f"{name}:N" for name in ("networks", "run", "layer", "channel", "class")]
            + [f"{name}:Q" for name in _MEASURES],
        )
        .add_params(selection)
        .properties(width=620, height=380)
        .interactive(name="zoom")
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal")
        .configure_legend(labelFontSize=12, titleFontSize=12)
    )
    spec: dict[str, Any] = chart.to_dict(context={"datasets": {}})
    return spec


def _ticks(threshold: float, largest: float) -> list[float]:
    """Return zero and the powers of ten from the threshold to the largest value, of both signs."""
    first, last = np.floor(np.log10((threshold, max(largest, threshold))))
    powers = [float(f"1e{int(power)}") for power in np.arange(first, last + 1)]
    return [-power for power in reversed(powers)] + [0.0, *powers]
