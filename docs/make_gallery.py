"""Write the gallery: docs/gallery.md and its pictures, each from the lines that the page shows.

``python docs/make_gallery.py`` trains two small networks on the digits of scikit-learn, in half a
minute on one core, runs the lines of each plot and saves the picture. Nothing is downloaded.
"""

import argparse
from pathlib import Path
from typing import Any

from matplotlib import use

from unitlens.plot.style import save

HERE = Path(__file__).parent
INTRODUCTION = """\
# Gallery

The functions of `ul.plot` draw the tables that the other functions return, for your own network as
for the results of the workflow. Each takes a table and, with `ax=`, Matplotlib axes to draw into;
without `ax` it makes a figure. Each returns the axes, so that titles, limits and
`ax.figure.savefig` are Matplotlib's own. The style and colours are those of the workflow's figures.

All pictures are of two networks with two layers of 64 units, trained on the digits of scikit-learn
(`memorised`: on permuted labels). `python docs/make_gallery.py` makes the page. The tables:

```python
{setup}```

Results of the workflow have the same tables: `results.units`, `.curves`, `.noise` and `.history` of
`results = ul.open_results("results")`, and `results.class_statistics(run, "train")`.
"""

NETWORKS = """\
import numpy as np
import torch
import xarray as xr
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul

pixels, digits = load_digits(return_X_y=True)
images = torch.tensor(pixels / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
labels = torch.tensor(digits)
shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def train(labels):
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    model, loss = nn.Sequential(nn.Flatten(), *layers), nn.CrossEntropyLoss()
    step = torch.optim.Adam(model.parameters(), lr=0.01)
    seen, losses = slice(0, 1200), {"train_loss": [], "test_loss": []}
    for _ in range(EPOCHS):
        with torch.no_grad():
            outputs = model(images)
        losses["train_loss"].append(float(loss(outputs[seen], labels[seen])))
        losses["test_loss"].append(float(loss(outputs[1200:], labels[1200:])))
        step.zero_grad()
        loss(model(images[seen]), labels[seen]).backward()
        step.step()
    table = xr.Dataset({name: ("epoch", values) for name, values in losses.items()})
    table = table.assign_coords(epoch=range(EPOCHS))
    return model.eval(), TensorDataset(images[seen], labels[seen]), table
"""

SETUP = """\
model, dataset, history = train(labels)
memorised, its_dataset, its_history = train(shuffled)

stats = ul.network_statistics(model, dataset)
importance = ul.unit_ablation(model, dataset)
units = xr.merge([ul.class_selectivity(stats), importance], compat="no_conflicts")
best = int(importance.loss_increase.values.argmax())  # the unit that the network needs most
"""

# Function: what the plot shows, and its lines.
PLOTS = {
    "ablation_curve": (
        "Mean accuracy over random orders of ablation; `ax` puts two networks into one picture.",
        """\
curves = ul.cumulative_ablation(model, dataset)
its_curves = ul.cumulative_ablation(memorised, its_dataset)
ax = ul.plot.ablation_curve(curves, label="true labels")
ul.plot.ablation_curve(its_curves, label="permuted labels", ax=ax)
""",
    ),
    "noise_curve": (
        "Accuracy against noise on all units, in standard deviations of each unit's elements.",
        """\
scales = [0.1, 0.2, 0.5, 1, 2, 5]
variance = ul.empirical_variance(stats).variance
noise = ul.noise_robustness(model, dataset, scales=scales, variance=variance)
ax = ul.plot.noise_curve(noise)
""",
    ),
    "measure_scatter": (
        "Two measures of every unit, with their rank correlation in each layer.",
        """\
ax = ul.plot.measure_scatter(units, "selectivity", "loss_increase")
""",
    ),
    "selectivity_by_depth": (
        "Median and quartiles of class selectivity, or of another variable, in each layer.",
        """\
its_stats = ul.network_statistics(memorised, its_dataset)
ax = ul.plot.selectivity_by_depth(ul.class_selectivity(stats), label="true labels")
ul.plot.selectivity_by_depth(ul.class_selectivity(its_stats), label="permuted labels", ax=ax)
""",
    ),
    "measure_agreement": (
        "The rank correlation of each two measures of units, averaged over the layers.",
        """\
measures = [ul.class_selectivity, ul.mutual_information, ul.roc_auc, ul.sparsity]
tables = [measure(stats) for measure in measures]
ax = ul.plot.measure_agreement(xr.merge(tables, compat="no_conflicts"))
""",
    ),
    "class_profile": (
        "The mean activation of one unit for each class, with standard errors.",
        """\
ax = ul.plot.class_profile(stats.isel(unit=best))
""",
    ),
    "class_damage": (
        "What the ablation of one unit costs each class, with 95 % intervals.",
        """\
ax = ul.plot.class_damage(importance.isel(unit=best))
""",
    ),
    "unit_images": (
        "The images that one unit responds to most, with activation and class.",
        """\
ax = ul.plot.unit_images(stats.isel(unit=best), dataset, count=16)
""",
    ),
    "training_course": (
        "Loss (or accuracy) on the training and the test set after every epoch.",
        """\
ax = ul.plot.training_course(history, label="true labels")
ul.plot.training_course(its_history, label="permuted labels", ax=ax)
ax.set_ylim(0, 5)
""",
    ),
}


def gallery_page() -> str:
    """Return the page."""
    setup = f"# `train` stands at the end of this page\n{SETUP}"
    parts = [INTRODUCTION.replace("{setup}", setup)]
    for name, (shown, lines) in PLOTS.items():
        picture = f"![{shown}](pictures/gallery_{name}.svg)".replace("`", "")
        parts.append(f"## `ul.plot.{name}`\n\n{shown}\n\n```python\n{lines}```\n\n{picture}\n")
    training = NETWORKS.replace("EPOCHS", "400")
    parts.append(f"## The networks of this page\n\n```python\n{training}```\n")
    return "\n".join(parts)


def draw_gallery(pictures: Path, epochs: int) -> None:
    """Train the networks, run the lines of each plot and save the pictures."""
    use("agg")
    names: dict[str, Any] = {"EPOCHS": epochs}
    exec(NETWORKS + SETUP, names)  # noqa: S102  # the lines that the page shows
    for name, (_, lines) in PLOTS.items():
        exec(lines, names)  # noqa: S102
        save(names["ax"].figure, pictures, f"gallery_{name}")
        (pictures / f"gallery_{name}.png").unlink()


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of gallery.md and pictures/")
    parser.add_argument("--epochs", type=int, default=400, help="epochs of training")
    given = parser.parse_args()
    (given.out / "pictures").mkdir(parents=True, exist_ok=True)
    draw_gallery(given.out / "pictures", given.epochs)
    (given.out / "gallery.md").write_text(gallery_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
