"""How Sphinx builds the documentation: `make docs`."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src"
sys.path[:0] = [str(SOURCE), str(DOCS / "_extensions")]
# The kernels of the tutorials import the same source, on one thread: the same numbers everywhere.
given = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), given]))
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("OMP_NUM_THREADS", "1")

import unitlens  # noqa: E402 - found by the path above

project = "unitlens"
author = "The unitlens authors"
release = version = unitlens.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "api_reference",
    "repository_texts",
]
exclude_patterns = ["_build", "_extensions", "_templates"]
templates_path = ["_templates"]

# Links to headings work as they do where the pages are read as Markdown.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Every tutorial is run at each build; what one raises ends the build, what one warns of is shown.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds a cell
nb_execution_show_tb = True
nb_merge_streams = True
if tags.has("quick"):  # noqa: F821 - Sphinx's name; without the tutorials that train longest
    nb_execution_excludepatterns = ["tutorials/questions.md", "tutorials/reproduce-a-figure.md"]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"unitlens {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": []}
html_context = {"default_mode": "auto"}
copyright = f"{author}. Apache-2.0"  # noqa: A001 - Sphinx's name
