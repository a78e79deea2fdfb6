"""What opened results say of themselves: their runs, those left out, the sizes of the tables."""

from typing import TYPE_CHECKING

from unitlens.config.looks import epoch_text
from unitlens.store.backend.files import total_size
from unitlens.tables.storage import TABLES

if TYPE_CHECKING:
    from unitlens.tables.results import Results

SHOWN = 20  # runs that are listed


def results_in_words(results: "Results") -> str:
    """Return the lines that show results at a prompt.

    Parameters
    ----------
    results
        The results.
    """
    runs = results.runs
    lines = [f"<unitlens.Results of {runs.sizes['run']} networks in {results.directory}>"]
    for row in range(min(SHOWN, runs.sizes["run"])):
        at = runs.isel(run=row)
        lines.append(
            f"  {at['run'].item()}  epoch {epoch_text(at['epoch'].item())}, accuracy "
            f"train {at['train_accuracy'].item():.3f} test {at['test_accuracy'].item():.3f}"
        )
    if runs.sizes["run"] > SHOWN:
        lines.append(f"  and {runs.sizes['run'] - SHOWN} more")
    lines += [f"  left out: {run} ({reason})" for run, reason in results.failed.items()]
    lines.append("tables")
    lines += [f"  .{name:<13}{_size(results, name)}" for name in TABLES]
    return "\n".join(lines)


def _size(results: "Results", name: str) -> str:
    path = results.directory / f"{name}.zarr"
    if not results.has_table(name):
        return "not made"
    dims = " x ".join(f"{size} {dim}" for dim, size in getattr(results, name).sizes.items())
    return f"{dims}, {total_size(path) / 1e6:.1f} MB"
