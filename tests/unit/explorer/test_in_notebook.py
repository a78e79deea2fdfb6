"""The explorer as the last line of a cell of a notebook."""

import nbformat
import pytest
from nbclient import NotebookClient

from synthetic_results import default_networks, write_results

pytest.importorskip("panel")


def test_explore__shows_itself_with_the_names_of_the_units(tmp_path):
    write_results(tmp_path / "results", default_networks()[:1])
    cells = ["import unitlens as ul", "ul.explore('results')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = notebook.cells[1].outputs
    assert not [output for output in outputs if output.output_type == "error"]
    bundles = [output["data"] for output in outputs if "data" in output]
    pages = [bundle["text/html"] for bundle in bundles if "text/html" in bundle]
    (page,) = [text for text in pages if "Units of trained networks" in text]
    assert "48 of 48 units are drawn." in page
