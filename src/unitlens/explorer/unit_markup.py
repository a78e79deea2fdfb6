"""Tables and strips of samples of a unit's page as HTML, in which every name is text."""

from collections.abc import Sequence
from html import escape

import numpy as np
import xarray as xr

from unitlens.errors import cut, printable
from unitlens.explorer.unit_charts import class_label
from unitlens.explorer.unit_images import Pixels, SampleView, png_address

_SIDE = 96  # pixels of an image on the page
_TEXT = 300  # letters of a text
_SMALL = 64  # pixels: smaller images are shown with sharp pixels

STYLE = """<style>
.strip{display:flex;flex-wrap:wrap;gap:10px;margin:0;padding:0;list-style:none}
.strip li{width:112px;font-size:12px;line-height:1.3;overflow-wrap:anywhere}
.strip li.words{width:300px;border-left:3px solid #0072B2;padding-left:8px}
.strip img{width:96px;height:96px;object-fit:contain;display:block;margin-bottom:3px}
.strip img.sharp{image-rendering:pixelated}
.places{border-collapse:collapse;font-size:13px}
.places th,.places td{padding:2px 10px 2px 0;text-align:right;white-space:nowrap}
.places th:first-child,.places td:first-child{text-align:left}
.places th[scope=row]{font-weight:normal}
.places thead th{border-bottom:1px solid #6B6B6B}
.bar{display:inline-block;width:100px;height:10px;background:#E4E4E4;vertical-align:middle}
.bar span{display:block;height:10px;background:#0072B2}
</style>"""


def places_table(places: xr.Dataset) -> str:
    """Return the table of a unit's place in all measures.

    Parameters
    ----------
    places
        What :func:`measure_places` returns.
    """
    rows = [_place_row(places.isel(measure=at)) for at in range(places.sizes["measure"])]
    head = "".join(
        f"<th scope='col'>{name}</th>"
        for name in ("measure", "value", "percentile in its layer", "")
    )
    return f"{STYLE}<table class='places'><thead><tr>{head}</tr></thead>{''.join(rows)}</table>"


def _place_row(row: xr.Dataset) -> str:
    value, percentile = (float(row[name]) for name in ("value", "percentile"))
    unit = str(row["unit_of_measure"].item())
    number = "none" if np.isnan(value) else f"{value:.4g}{_uncertainty(row)}"
    number += "" if unit in {"1", ""} else f" {escape(unit)}"
    bar, rank = "", ""
    if not np.isnan(percentile):
        rank = f"{percentile:.1f} % of {int(row['units'])}"
        bar = f"<span class='bar'><span style='width:{percentile:.0f}%'></span></span>"
    name, why = escape(str(row["long_name"].item())), escape(str(row["description"].item()))
    cells = "".join(f"<td>{cell}</td>" for cell in (number, rank, bar))
    return f"<tr title='{why}'><th scope='row'>{name}</th>{cells}</tr>"


def _uncertainty(row: xr.Dataset) -> str:
    """Return the interval of a value, or else its standard error; empty where there is neither."""
    low, high, error = (float(row[name]) for name in ("low", "high", "error"))
    if not np.isnan(low):
        return f" [{low:.2g}, {high:.2g}]"
    return "" if np.isnan(error) else f" ± {error:.2g}"


def sample_strip(
    responses: xr.Dataset,
    views: Sequence[SampleView] | None,
    names: Sequence[str],
    overlays: Sequence[Pixels | None] | None = None,
) -> str:
    """Return samples side by side, each with its activation and class.

    Parameters
    ----------
    responses
        What :func:`top_responses` or :func:`spread_responses` returns.
    views
        The samples themselves; None without a data set: each is named by its index.
    names
        Names of the classes by label; may be empty.
    overlays
        For each sample its image under the unit's feature map; None where there is none.
    """
    items = []
    for at in range(responses.sizes["sample"]):
        view = views[at] if views is not None else SampleView()
        overlay = overlays[at] if overlays is not None else None
        items.append(_sample_item(responses.isel(sample=at), view, overlay, names))
    return f"{STYLE}<ul class='strip'>{''.join(items)}</ul>"


def shown_sample(view: SampleView) -> str:
    """Return one sample alone: its image, or its text.

    Parameters
    ----------
    view
        The sample.
    """
    if view.image is None:
        return f"<p>{escape(cut(printable(view.text), _TEXT))}</p>"
    return f"{STYLE}<div class='strip'>{_picture(view.image, 'the sample')}</div>"


def _sample_item(
    row: xr.Dataset, view: SampleView, overlay: Pixels | None, names: Sequence[str]
) -> str:
    index = int(row["index"])
    caption = (
        f"<b>{float(row['activation']):.4g}</b> · {float(row['quantile']):.1%}<br>"
        f"{escape(_class_words(row, names))}<br><small>sample {index}{_position(row)}</small>"
    )
    if view.image is None:
        text = escape(cut(printable(view.text), _TEXT))
        return f"<li class='words'>{text}<br>{caption}</li>" if text else f"<li>{caption}</li>"
    pictures = _picture(view.image, f"sample {index}")
    if overlay is not None:
        pictures += _picture(overlay, f"sample {index}, where the unit is active")
    return f"<li>{pictures}{caption}</li>"


def _picture(image: Pixels, words: str) -> str:
    sharp = " class='sharp'" if max(image.shape[:2]) <= _SMALL else ""
    return f"<img{sharp} src='{png_address(image)}' width={_SIDE} height={_SIDE} alt='{words}'>"


def _class_words(row: xr.Dataset, names: Sequence[str]) -> str:
    if "label" not in row.coords:
        return ""
    label = int(row["label"])
    words = f"class {class_label(names, label)}"
    if "true_label" in row.coords and int(row["true_label"]) != label:
        words = (
            f"label {class_label(names, label)}, truly {class_label(names, int(row['true_label']))}"
        )
    return words


def _position(row: xr.Dataset) -> str:
    return f", position {int(row['position'])}" if "position" in row.coords else ""
