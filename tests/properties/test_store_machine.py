"""A store through any sequence of events holds the numbers of what was last asked for."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import dask
import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

import unitlens as ul
from recorded_networks import Samples
from small_stores import SMALL, flip, make_former, swap
from unitlens.errors import StoreError
from unitlens.recording import record
from unitlens.store.format.manifest import read_manifest

EXAMPLES = 400 if os.environ.get("UNITLENS_FAULTS") == "all" else 12
SLOPES = (0.01, 0.5)  # an attribute: the weights and the classes of the modules stay
SEEDS = (0, 1)


PLACES = st.integers(0, 2**20)  # of files and bytes, taken modulo how many there are


class StoppedError(BaseException):
    """The process is killed."""


def make_network(slope):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.LeakyReLU(slope), nn.Linear(20, 10)).eval()


def make_data(seed):
    return Samples(150, (12,), seed=seed)


def expected(slope, seed):
    with torch.no_grad():
        return make_network(slope)[:2](make_data(seed).inputs).numpy()


EXPECTED = {(slope, seed): expected(slope, seed) for slope in SLOPES for seed in SEEDS}
LABELS = {seed: make_data(seed).labels for seed in SEEDS}


class StoreMachine(RuleBasedStateMachine):
    """One path, to which two networks and two data sets are recorded."""

    @initialize()
    def begin(self):
        self.room = tempfile.TemporaryDirectory()
        self.path = Path(self.room.name) / "acts.zarr"
        self.slope, self.seed = SLOPES[0], SEEDS[0]
        self.asked = self.begun = (self.slope, self.seed)
        self.is_merged = False

    def teardown(self):
        if hasattr(self, "room"):
            self.room.cleanup()

    def record(self, part=None):
        """Record what is wanted now; return the line of a refusal."""
        network, data = make_network(self.slope), make_data(self.seed)
        self.begun = (self.slope, self.seed)
        with mock.patch.object(os, "fsync"), mock.patch.object(record, "DEFAULT_LAYOUT", SMALL):
            try:
                ul.record_activations(network, data, self.path, batch_size=50, part=part)
            except StoreError as error:
                return str(error)
        self.asked = (self.slope, self.seed)
        return ""

    @rule(slope=st.sampled_from(SLOPES), seed=st.sampled_from(SEEDS))
    def change_what_is_wanted(self, slope, seed):
        self.slope, self.seed = slope, seed

    @rule()
    def record_to_the_end(self):
        line = self.record()
        if line:
            self.check_line(line)
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.with_suffix(".json").unlink(missing_ok=True)
            assert self.record() == ""
        for fault in ul.verify_activations(self.path).faults:
            (self.path / fault.place).unlink(missing_ok=True)
        assert self.record() == ""
        assert ul.verify_activations(self.path).whole

    @rule(moment=st.integers(1, 60))
    def record_and_be_killed(self, moment):
        real, left = os.replace, [moment]

        def replace(source, target):
            left[0] -= 1
            if left[0] == 0:
                raise StoppedError
            return real(source, target)

        with (
            mock.patch.object(os, "replace", replace),
            mock.patch("os.rename", replace),
            contextlib.suppress(StoppedError),
        ):
            self.record()

    @rule(number=st.sampled_from((1, 2)))
    def record_a_part(self, number):
        line = self.record((number, 2))
        if line:
            self.check_line(line)

    @rule()
    def merge(self):
        try:
            ul.merge_activations(self.path)
        except StoreError as error:
            self.check_line(str(error), "")
        else:
            self.is_merged = True

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def damage_a_file(self, data):
        file = self.draw_file(data)
        size = file.stat().st_size
        kind = data.draw(st.sampled_from(["remove", "cut", "flip", "swap"]))
        if kind == "remove":
            file.unlink()
        elif kind == "cut":
            os.truncate(file, data.draw(PLACES) % (size + 1))
        elif kind == "flip" and size:
            flip(file, data.draw(PLACES) % size, data.draw(st.integers(0, 7)))
        elif kind == "swap":
            swap(file, self.draw_file(data))

    def draw_file(self, data):
        """Draw a file; a process that is killed leaves now one file more, now one less."""
        files = self.files()
        return files[data.draw(PLACES) % len(files)]

    @rule()
    def repair(self):
        network, data = make_network(self.slope), make_data(self.seed)
        try:
            ul.repair_activations(network, data, self.path)
        except StoreError as error:
            self.check_line(str(error), "")
        else:
            self.asked = (self.slope, self.seed)

    @rule()
    def remove_the_store(self):
        shutil.rmtree(self.path, ignore_errors=True)

    @precondition(lambda self: self.path.with_suffix(".json").exists())
    @rule()
    def come_from_an_earlier_version(self):
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):  # damaged
            make_former(self.path)

    @invariant()
    def what_opens_holds_the_right_numbers(self):
        if not hasattr(self, "room"):
            return
        try:
            tree = ul.open_activations(self.path)
            with dask.config.set(scheduler="synchronous"):
                values = tree["1"].activation.to_numpy()
        except StoreError as error:
            self.check_line(str(error))
            return
        is_former = not read_manifest(self.path).states_checksums
        if is_former and not ul.verify_activations(self.path).whole:
            return  # shards that were exchanged are noticed when it is verified or recorded again
        # A merge ends a recording that was killed when all of it but its manifest was there.
        if self.is_merged and np.allclose(values, EXPECTED[self.begun], atol=1e-5):
            self.asked = self.begun
        np.testing.assert_allclose(values, EXPECTED[self.asked], atol=1e-5)
        np.testing.assert_array_equal(tree["label"], LABELS[self.asked[1]])

    def check_line(self, line, remedy="record"):
        assert "\n" not in line
        assert remedy in line

    def files(self):
        if not hasattr(self, "room"):
            return []
        return sorted(file for file in Path(self.room.name).rglob("*") if file.is_file())


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=15, deadline=None)
