"""Tables of parts, joined: the table of the whole call to the last bit, or a refusal."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, TableError
from unitlens.perturbation.join_curves import ablation_curves

Call = Callable[..., xr.Dataset]


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 37), nn.Sigmoid(), nn.Linear(37, 21), nn.ReLU(),
        nn.Linear(21, 10),
    )  # fmt: skip


class Convolutions(nn.Module):
    """Batch norm, a 1x1 and a grouped convolution, a shortcut, and widths that are no multiples."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 7, 3, padding=1), nn.BatchNorm2d(7)
        self.point, self.inner = nn.Conv2d(7, 7, 1), nn.BatchNorm2d(7)
        self.deep, self.head = nn.Conv2d(7, 7, 3, padding=1, groups=7), nn.Linear(7, 10)
        for norm in (self.norm, self.inner):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(x + self.deep(torch.relu(self.inner(self.point(x)))))
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


NETWORKS: dict[str, Callable[[], nn.Module]] = {"mlp": perceptron, "convolutions": Convolutions}


@pytest.fixture(scope="module")
def dataset() -> TensorDataset:
    torch.manual_seed(1)
    return TensorDataset(torch.randn(75, 1, 6, 6), torch.randint(10, (75,)))


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


@pytest.fixture(autouse=True, scope="module")
def at_most_two_threads() -> Iterator[None]:
    """More threads split elementwise functions at places that depend on the rows beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, 2))
    yield
    torch.set_num_threads(threads)


def calls(model: nn.Module, dataset: Any) -> dict[str, Call]:
    """Return the five functions, each with arguments of its own."""
    random = np.random.default_rng(0)
    units = ul.unit_ablation(model, dataset, samples=1)
    count, layers = units.sizes["unit"], units.attrs["layers"]
    width = {name: int((units["layer"] == name).sum()) for name in layers}
    groups = {
        f"group-{n}": random.permutation(count)[: random.integers(0, 6)].tolist() for n in range(11)
    }
    directions = {name: random.normal(size=(size + 2, size)) for name, size in width.items()}
    by = units["loss_increase"].copy(data=random.normal(size=count))
    return {
        "units": lambda **part: ul.unit_ablation(model, dataset, first_order=True, **part),
        "drawn units": lambda **part: ul.unit_ablation(
            model, dataset, units=17, value="resample", batch_size=32, **part
        ),
        "groups": lambda **part: ul.group_ablation(model, dataset, groups, value="mean", **part),
        "directions": lambda **part: ul.direction_ablation(model, dataset, directions, **part),
        "orders": lambda **part: ul.cumulative_ablation(
            model, dataset, orders=4, points=5, by={"loss": by}, value="mean", **part
        ),
        "orders of directions": lambda **part: ul.cumulative_ablation(
            model, dataset, orders=5, points=4, basis="random", **part
        ),
        "draws": lambda **part: ul.noise_robustness(
            model, dataset, [0.1, 2.0], variance=np.ones(count), draws=5, **part
        ),
        "draws of units": lambda **part: ul.noise_robustness(
            model, dataset, [0.1, 2.0], variance=np.ones(count), draws=5, per="unit", **part
        ),
        "draws by a reference": lambda **part: ul.noise_robustness(
            model, dataset, [0.1, 0.5, 2.0], draws=5, reference=dataset, **part
        ),
    }


CALLS = (
    "units", "drawn units", "groups", "directions", "orders", "orders of directions", "draws",
    "draws of units", "draws by a reference",
)  # fmt: skip


def same_bits(table: xr.Dataset, expected: xr.Dataset) -> None:
    assert table.identical(expected)
    for name, array in expected.variables.items():
        assert table[name].dtype == array.dtype
        if array.dtype != object:
            assert table[name].values.tobytes() == array.values.tobytes(), name


@pytest.mark.parametrize("call", CALLS)
def test_merge_tables__gives_the_bits_of_the_whole(
    call: str, model: nn.Module, dataset: TensorDataset
) -> None:
    ablate = calls(model, dataset)[call]
    whole = ablate()
    for parts in range(1, 6):
        tables = [ablate(part=(number, parts)) for number in range(parts)]
        same_bits(ul.merge_tables(reversed(tables)), whole)


def test_merge_tables__of_losses_that_are_the_users_own() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Linear(9, 11), nn.SiLU(), nn.Linear(11, 6), nn.GELU(), nn.Linear(6, 1)
    ).eval()  # fmt: skip
    dataset = TensorDataset(torch.randn(67, 9), torch.rand(67, 1))

    def score(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            output, targets.float(), reduction="none"
        )[:, 0]

    whole = ul.unit_ablation(model, dataset, score=score)
    for parts in (2, 3, 5):
        tables = [
            ul.unit_ablation(model, dataset, score=score, part=(number, parts))
            for number in range(parts)
        ]
        same_bits(ul.merge_tables(tables), whole)


def test_merge_tables__of_tokens() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Embedding(20, 13), nn.Linear(13, 17), nn.GELU(),
        nn.TransformerEncoderLayer(17, 1, 23, batch_first=True), nn.Linear(17, 20),
    ).eval()  # fmt: skip
    tokens = TensorDataset(torch.randint(20, (41, 7)), torch.randint(20, (41, 7)))
    whole = ul.unit_ablation(model, tokens, positions="samples")
    tables = [
        ul.unit_ablation(model, tokens, positions="samples", part=(number, 3))
        for number in range(3)
    ]
    same_bits(ul.merge_tables(tables), whole)


def test_merge_tables__of_parts_with_fewer_units_than_parts(dataset: TensorDataset) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.ReLU(), nn.Linear(2, 10))
    tables = [ul.unit_ablation(model, dataset, part=(number, 3)) for number in range(3)]
    assert [table.sizes["unit"] for table in tables] == [1, 1, 0]
    same_bits(ul.merge_tables(tables), ul.unit_ablation(model, dataset))


def test_merge_tables__of_several_variants_of_curves(dataset: TensorDataset) -> None:
    model = perceptron()
    variants = [("zero", "units"), ("mean", "units"), ("zero", "random")]
    whole = ablation_curves(model, dataset, variants, orders=3, points=4)
    tables = [
        ablation_curves(model, dataset, variants, orders=3, points=4, part=(number, 2))
        for number in range(2)
    ]
    same_bits(ul.merge_tables(tables), whole)


def test_part__is_every_kth_unit_of_each_layer(dataset: TensorDataset) -> None:
    table = ul.unit_ablation(perceptron(), dataset, part=(2, 5))
    assert (table.attrs["part"], table.attrs["parts"]) == (2, 5)
    by_layer = table["channel"].groupby("layer")
    assert [sorted(channels.values) for _, channels in by_layer] == [
        list(range(2, 37, 5)), list(range(2, 21, 5)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "part", [(0, 0), (2, 2), (-1, 2), (0.5, 2), (0, 1, 2), 3, "01", (True, 2)], ids=str
)
def test_part__that_is_none_is_refused(part: Any, dataset: TensorDataset) -> None:
    with pytest.raises(ArgumentError, match=r"^part is .*, but must be two whole numbers \(k, K\)"):
        ul.unit_ablation(perceptron(), dataset, part=part)


def test_part__of_more_orders_or_draws_than_there_are_is_refused(dataset: TensorDataset) -> None:
    model = perceptron()
    with pytest.raises(ArgumentError, match=r"there are 2 orders, .* give at most 2 parts"):
        ul.cumulative_ablation(model, dataset, orders=2, part=(0, 3))
    with pytest.raises(ArgumentError, match=r"there are 2 draws, .* give at most 2 parts"):
        ul.noise_robustness(model, dataset, [1.0], variance=np.ones(58), draws=2, part=(0, 3))


@pytest.fixture(scope="module")
def parts(dataset: TensorDataset) -> list[xr.Dataset]:
    torch.manual_seed(0)
    model = perceptron()
    return [ul.unit_ablation(model, dataset, part=(number, 3)) for number in range(3)]


def test_merge_tables__refuses_holes_and_doubles(parts: list[xr.Dataset]) -> None:
    first, second, third = parts
    with pytest.raises(TableError, match=r"of 3 parts there are 2, without part 1; .*\(1, 3\)"):
        ul.merge_tables([first, third])
    with pytest.raises(TableError, match=r"without parts 1, 2; .*\(1, 3\) and so on"):
        ul.merge_tables([first])
    with pytest.raises(TableError, match="part 1 is there twice; give each part once"):
        ul.merge_tables([first, second, second, third])
    with pytest.raises(TableError, match="parts is empty"):
        ul.merge_tables([])
    with pytest.raises(TableError, match="part 2 has 18 rows, but 19 were computed"):
        ul.merge_tables([first, second, third.isel(unit=slice(18))])


def test_merge_tables__refuses_what_is_no_part(
    parts: list[xr.Dataset], dataset: TensorDataset
) -> None:
    whole = ul.unit_ablation(perceptron(), dataset)
    with pytest.raises(TableError, match=r"table 0 of those to join is no table of a part"):
        ul.merge_tables([whole])
    with pytest.raises(TableError, match=r"table 1 of those to join is no table of a part"):
        ul.merge_tables([parts[0], xr.Dataset()])


def test_merge_tables__refuses_parts_of_other_calls(
    parts: list[xr.Dataset], dataset: TensorDataset
) -> None:
    torch.manual_seed(0)
    model = perceptron()
    one_other_label = TensorDataset(dataset.tensors[0], dataset.tensors[1].clone())
    one_other_label.tensors[1][40] = (one_other_label.tensors[1][40] + 1) % 10
    nearly = TensorDataset(dataset.tensors[0].clone(), dataset.tensors[1])
    nearly.tensors[0][3, 0, 0, 0] += 1e-6
    others = {
        "networks: network_hash": ul.unit_ablation(perceptron(), dataset, part=(1, 3)),
        "data: data_hash": ul.unit_ablation(model, one_other_label, part=(1, 3)),
        "data: data_hash of part 0 is": ul.unit_ablation(model, nearly, part=(1, 3)),
        "settings: settings_hash": ul.unit_ablation(model, dataset, value="mean", part=(1, 3)),
        "settings": ul.unit_ablation(model, dataset, precision="float64", part=(1, 3)),
        "versions of the code: code_hash": parts[1].assign_attrs(code_hash="0"),
        "numbers of parts: parts of part 0 is 3, of part 1 4": ul.unit_ablation(
            model, dataset, part=(1, 4)
        ),
    }
    for what, other in others.items():
        with pytest.raises(TableError, match=f"^the parts are of different {what}.*; join parts"):
            ul.merge_tables([parts[0], other, parts[2]])
    assert ul.merge_tables(parts).attrs["samples"] == 75


def test_merge_tables__of_other_arithmetic_warns_and_says_so(
    parts: list[xr.Dataset], dataset: TensorDataset
) -> None:
    torch.manual_seed(0)
    model = perceptron()
    other = ul.unit_ablation(model, dataset, batch_size=30, part=(1, 3))
    with pytest.warns(UserWarning, match="other arithmetic .* 30 samples per batch"):
        merged = ul.merge_tables([parts[0], other, parts[2]])
    assert "last digits may differ" in merged.attrs["doubts"]
    whole = ul.unit_ablation(model, dataset)
    np.testing.assert_allclose(merged["loss_increase"], whole["loss_increase"], atol=1e-6)


def test_merge_tables__of_tables_that_were_written(
    parts: list[xr.Dataset], dataset: TensorDataset, tmp_path: Any
) -> None:
    for number, table in enumerate(parts):
        table.to_netcdf(tmp_path / f"{number}.nc")
    read = [xr.load_dataset(tmp_path / f"{number}.nc") for number in range(3)]
    same = ul.merge_tables(read)
    np.testing.assert_array_equal(same["loss_increase"], ul.merge_tables(parts)["loss_increase"])
