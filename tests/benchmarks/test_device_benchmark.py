"""The script for a device runs on a CPU too, and no section ends the others."""

import json
import math

import pytest
import torch

import device
import device_sections
import device_speed
from simulated_gpu import simulated_gpu


def test_main__runs_every_section_on_a_cpu_and_finds_the_cpus_numbers(tmp_path, capsys):
    sections = ["about", "structure", "recorded", "trained", "memory"]
    device.main(
        ["--device", "cpu", "--size", "0.02", "--out", str(tmp_path), "--sections", *sections]
    )

    found = json.loads((tmp_path / "device.json").read_text())
    assert [section["section"] for section in found] == sections
    assert [section["failed"] for section in found] == [""] * len(sections)
    rows = [row for section in found for row in section["rows"]]
    assert [row["what"] for row in rows if row["holds"] is False] == []
    assert len([row for row in rows if row["holds"]]) >= 6
    assert (tmp_path / "device.md").read_text() in capsys.readouterr().out


def test_main__tells_of_sections_that_fail_or_take_too_long(tmp_path):
    names = ["about", "nothing", "about"]
    device.main(["--device", "cpu", "--out", str(tmp_path), "--sections", *names])
    found = json.loads((tmp_path / "device.json").read_text())
    assert ["KeyError" in section["failed"] for section in found] == [False, True, False]
    assert "| nothing | failed: KeyError: 'nothing' | | | no |" in device.table(found)

    late = device.run_section("about", "cpu", 1.0, limit=0)
    assert late["failed"] == "it took more than 0 s"


@pytest.mark.parametrize(
    "section", ["structure", "repeated", "recorded", "speed", "curves", "noise"]
)
def test_section__runs_on_a_gpu(section, monkeypatch):
    monkeypatch.delitem(device_speed.SAMPLES, "resnet50")
    with simulated_gpu() as gpu:
        rows = device_sections.SECTIONS[section](torch.device("cuda"), 0.02)
    assert gpu.kernels.total() > 100
    assert [row["what"] for row in rows if row["holds"] is False] == []
    assert all(math.isfinite(row["value"]) for row in rows)


def test_sections__of_the_script_are_those_that_there_are():
    assert list(device_sections.SECTIONS) == list(device.SECTIONS)


@pytest.mark.parametrize("network", ["mlp"])
def test_correctness__holds_on_a_cpu(network, monkeypatch):
    import torch

    monkeypatch.setattr(device_sections, "NETWORKS", (network,))
    rows = device_sections.correctness(torch.device("cpu"), 0.02)
    assert {row["holds"] for row in rows if row["wanted"] is not None} == {True}
    assert len(rows) == 3 * 11
