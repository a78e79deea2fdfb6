"""Strategies for stores: layers, sizes, layouts, and batches."""

from hypothesis import strategies as st

from unitlens.store.format.layout import FeatureMaps, Layout
from unitlens.store.format.manifest import Contents, RecordedLayer

layouts = st.builds(Layout, chunk_bytes=st.integers(4, 2**9), shard_bytes=st.integers(2**7, 2**11))

names = st.sampled_from(["relu", "features.0.relu", "relu_1", "layer1.0.relu_2", "c", "0"])


@st.composite
def contents(draw):
    """Draw the contents of a small store, with or without feature maps."""
    units = draw(st.dictionaries(names, st.integers(1, 20), min_size=1, max_size=3))
    layers = tuple(RecordedLayer(name, i, size) for i, (name, size) in enumerate(units.items()))
    dtype = draw(st.sampled_from(["float32", "float16"]))
    samples = draw(st.integers(1, 60))
    mapped = draw(st.sets(st.integers(0, samples - 1), max_size=12))
    shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
    positions = draw(st.dictionaries(st.sampled_from(list(units)), shapes, min_size=1))
    maps = FeatureMaps(positions, tuple(sorted(mapped))) if mapped else None
    about = (samples, 3, layers, "mean", dtype, {"weights_hash": "a"})
    return Contents(*about, maps=maps)


@st.composite
def cuts(draw, samples):
    """Draw ascending sample numbers that cut `samples` into batches, 0 and the end included."""
    inner = draw(st.sets(st.integers(1, max(1, samples - 1)), max_size=6))
    return sorted({0, samples} | {cut for cut in inner if cut < samples})
