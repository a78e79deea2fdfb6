"""The index of the API reference, written anew from `unitlens.__all__` at each build.

Names stand in groups, by the module that defines them. A name whose module is in no group stands in
the last group, so that no public name is left out.
"""

from pathlib import Path
from types import ModuleType

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

import unitlens

# Title of a group, and the modules whose names it holds; the first group that fits takes a name.
GROUPS = (
    ("Networks", ("unitlens.model", "unitlens.training")),
    ("Recorded activations", ("unitlens.recording", "unitlens.store")),
    ("Statistics by class", ("unitlens.statistics.class_",)),
    ("Measures of a unit", ("unitlens.statistics.measures",)),
    ("Subspaces of a layer", ("unitlens.statistics.subspaces",)),
    ("Ablation and noise", ("unitlens.perturbation",)),
    ("Tables and curves", ("unitlens.analysis", "unitlens.tables")),
    ("Plots", ("unitlens.plot", "unitlens.plotting", "unitlens.figures")),
    ("Explorer", ("unitlens.explore", "unitlens.explorer")),
    ("Settings and warnings", ("",)),
)
# Classes that public functions return, and errors that they raise: not called by name, but read.
RETURNED = ("unitlens.tables.results.Results", "unitlens.errors.UnitlensError")

# What numpy's alias stands for takes three lines of each signature that names the alias.
_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
_TITLE = "API reference"
_BEGINNING = f"""{_TITLE}
{"=" * len(_TITLE)}

``import unitlens as ul`` brings every name of this page. A page of each function says what the
function takes and returns, in which units and shapes, and what the function refuses.
"""


def public_names() -> list[str]:
    """Return the full names of what the package declares public; of a module, those of its own."""
    names: list[str] = []
    for name in (*unitlens.__all__, "plot"):  # loaded when it is first used, not in `__all__`
        value = getattr(unitlens, name)
        if isinstance(value, ModuleType):
            names += [f"unitlens.{name}.{inner}" for inner in value.__all__]
        else:
            names.append(f"unitlens.{name}")
    return sorted(names)


def home(full_name: str) -> str:
    """Return the module that defines a name."""
    _, _, name = full_name.partition(".")
    if name.startswith("plot."):
        return "unitlens.plot"
    return unitlens._HOMES[name.partition(".")[0]]  # noqa: SLF001 - the one list of homes


def grouped(names: list[str]) -> dict[str, list[str]]:
    """Return the names of each group, without groups that have none."""
    groups: dict[str, list[str]] = {title: [] for title, _ in GROUPS}
    for name in names:
        title = next(title for title, homes in GROUPS if home(name).startswith(homes))
        groups[title].append(name)
    return {title: members for title, members in groups.items() if members}


def index_page() -> str:
    """Return the index as reStructuredText, from which autosummary makes a page of each name."""
    groups = {**grouped(public_names()), "What functions return and raise": list(RETURNED)}
    parts = [_BEGINNING]
    for title, names in groups.items():
        rows = "\n".join(f"   ~{name}" for name in names)
        heading = f"{title}\n{'-' * len(title)}\n"
        table = f".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{rows}\n"
        parts += [heading, table]
    return "\n".join(parts)


def _write(app: Sphinx, _config: object) -> None:
    path = Path(app.srcdir) / "api" / "index.rst"
    page = index_page()
    if not path.exists() or path.read_text() != page:
        path.parent.mkdir(exist_ok=True)
        path.write_text(page)


def _name_aliases(*event: object) -> tuple[str | None, str | None]:
    signature, returned = event[-2:]
    return signature and str(signature).replace(_ARRAY_LIKE, "ArrayLike"), returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the index before Sphinx looks for its pages; shorten the signatures."""
    app.connect("config-inited", _write)
    app.connect("autodoc-process-signature", _name_aliases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
