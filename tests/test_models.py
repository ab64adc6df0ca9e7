"""The models: what they take and give, how large they are, and that each learns."""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import Train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm

from lrtrain.datasets import Inputs
from lrtrain.errors import RequestError
from lrtrain.models import model
from lrtrain.training.groups import parameter_groups

CNN = {"channels": [2, 3], "dropout": 0.5, "kernels": [3], "stride": 1, "padding": 1, "pool": 2, "batch_norm": True}
RESNET = {"depth": 8, "width": 4, "zero_init": False}
GRU = {"width": 6, "layers": 1, "bidirectional": False, "dropout": 0.0}
GPT = {"layers": 2, "heads": 2, "width": 8, "dropout": 0.0, "bias": False}
MLP = {"hidden": [7, 7], "dropout": 0.5, "batch_norm": False, "residual": False}

PICTURE, WIDE, SERIES, TABLE = (1, 8, 8), (3, 9, 12), (2, 11), (5,)

TAKES: dict[str, tuple[str, dict[str, Any], list[tuple[int, ...]]]] = {
    "linear": ("linear", {}, [PICTURE, WIDE, SERIES, TABLE]),
    "mlp": ("mlp", MLP, [PICTURE, WIDE, SERIES, TABLE]),
    "mlp without layers": ("mlp", MLP | {"hidden": []}, [PICTURE, TABLE]),
    "mlp with everything": ("mlp", MLP | {"batch_norm": True, "residual": True}, [PICTURE, TABLE]),
    "cnn": ("cnn", CNN, [PICTURE, WIDE, SERIES]),
    "cnn without pooling": (
        "cnn",
        CNN | {"kernels": [5, 3], "stride": 2, "pool": 1, "batch_norm": False},
        [WIDE, SERIES],
    ),
    "resnet": ("resnet", RESNET, [PICTURE, WIDE]),
    "resnet from the identity": ("resnet", RESNET | {"zero_init": True}, [WIDE]),
    "gru": ("gru", GRU, [SERIES]),
    "gru from both ends": ("gru", GRU | {"bidirectional": True, "layers": 2, "dropout": 0.5}, [SERIES]),
}


def test_model_maps_inputs_to_logits() -> None:
    for label, (name, parameters, shapes) in TAKES.items():
        for shape in shapes:
            network = model(name, **parameters).make(Inputs(shape), 6)
            assert network(torch.zeros(4, *shape)).shape == (4, 6), (label, shape)


@pytest.mark.parametrize(("name", "parameters"), [("gru", GRU), ("transformer", GPT)])
@pytest.mark.parametrize("classes", [13, 4])
def test_model_of_tokens_has_logits_for_each(name: str, parameters: dict[str, Any], classes: int) -> None:
    network = model(name, **parameters).make(Inputs((9,), 13), classes)
    for length in (9, 5):
        assert network(torch.zeros(4, length, dtype=torch.int64)).shape == (4, length, classes)


REFUSED: dict[str, tuple[str, dict[str, Any], Inputs, str]] = {
    "linear, tokens": ("linear", {}, Inputs((9,), 13), "takes numbers, not tokens; use model=transformer or model=gru"),
    "mlp, tokens": ("mlp", MLP, Inputs((9,), 13), "takes numbers, not tokens"),
    "cnn, tokens": ("cnn", CNN, Inputs((9,), 13), "takes numbers, not tokens"),
    "cnn, table": ("cnn", CNN, Inputs(TABLE), "needs pictures"),
    "cnn, too deep": ("cnn", CNN | {"channels": [8] * 4}, Inputs(PICTURE), "too often"),
    "cnn, kernel too wide": ("cnn", CNN | {"kernels": [11]}, Inputs(PICTURE), "too often"),
    "resnet, series": ("resnet", RESNET, Inputs(SERIES), "needs pictures"),
    "resnet, no such depth": ("resnet", RESNET | {"depth": 18}, Inputs(PICTURE), "6n + 2"),
    "resnet, no blocks": ("resnet", RESNET | {"depth": 2}, Inputs(PICTURE), "6n + 2"),
    "gru, pictures": ("gru", GRU, Inputs(PICTURE), "needs tokens, or series"),
    "gru, tokens from both ends": ("gru", GRU | {"bidirectional": True}, Inputs((9,), 13), "is for series"),
    "transformer, numbers": ("transformer", GPT, Inputs(PICTURE), "takes tokens"),
    "transformer, heads": ("transformer", GPT | {"heads": 3}, Inputs((9,), 13), "evenly"),
    "timm, series": ("timm", {}, Inputs(SERIES), "needs pictures"),
}


@pytest.mark.parametrize(("name", "parameters", "inputs", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_model_refuses_what_it_cannot_take(name: str, parameters: dict[str, Any], inputs: Inputs, said: str) -> None:
    with pytest.raises(ValueError, match=rf"model.*{said.replace('+', '.')}"):
        model(name, **parameters).make(inputs, 10)


def size(name: str, inputs: Inputs, parameters: dict[str, Any]) -> int:
    return sum(weight.numel() for weight in model(name, **parameters).make(inputs, 10).parameters())


LINE = Inputs((1, 40))
"""A sample of MNIST-1D."""


def test_sizes_of_the_networks_of_the_authors_of_mnist1d() -> None:
    assert size("linear", LINE, {}) == 410
    assert size("mlp", LINE, MLP | {"hidden": [100, 100], "residual": True}) == 15_210
    cnn = {"channels": [25] * 3, "kernels": [5, 3], "stride": 2, "pool": 1, "batch_norm": False}
    assert size("cnn", LINE, CNN | cnn) == 5_210
    assert size("gru", LINE, GRU | {"bidirectional": True}) == 5_134


def test_network_of_the_lightning_hydra_template() -> None:
    """It is made of nothing else, in this order; a dropout of 0 changes nothing."""
    network = model("mlp", hidden=[64, 128, 64], dropout=0.0, batch_norm=True).make(Inputs((1, 28, 28)), 10)
    layer = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    kinds = [type(part) for part in network.children() if not isinstance(part, nn.Dropout)]
    assert kinds == [nn.Flatten, *layer, *layer, *layer, nn.Linear]
    widths = [784, 64, 128, 64, 10]
    assert [part.out_features for part in network.children() if isinstance(part, nn.Linear)] == widths[1:]


def test_residual_mlp_adds_where_the_width_stays() -> None:
    torch.manual_seed(0)
    network = model("mlp", hidden=[5, 7, 7], dropout=0.0, residual=True).make(Inputs(TABLE), 3)
    first, second, third, last = (part for part in network.modules() if isinstance(part, nn.Linear))
    inputs = torch.randn(4, 5)
    hidden = second(first(inputs).relu()).relu()
    assert torch.allclose(network(inputs), last(hidden + third(hidden).relu()))


@pytest.mark.parametrize(("depth", "million"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_size_of_resnets(depth: int, million: float) -> None:
    """Table 6 of He et al. 2016, and their count by hand: convolutions, two numbers a channel of each norm, the end."""
    blocks = (depth - 2) // 6
    convolutions = [(3, 16), *[(16, 16)] * (2 * blocks)]
    for before, after in ((16, 32), (32, 64)):
        convolutions += [(before, after), *[(after, after)] * (2 * blocks - 1)]
    expected = sum(9 * before * after + 2 * after for before, after in convolutions) + 64 * 10 + 10
    found = size("resnet", Inputs((3, 32, 32)), {"depth": depth, "width": 16, "zero_init": False})
    assert found == expected
    assert round(found / 1e6, 1 if million > 1 else 2) == million


def test_resnet_block_beside_its_shortcut() -> None:
    """With no residual, a stage keeps every second pixel and has zeros in half of its channels."""
    network = model("resnet", depth=8, width=4, zero_init=True).make(Inputs((4, 8, 8)), 10)
    inputs = torch.rand(2, 4, 8, 8)
    first, second, third = list(network.children())[3:6]
    assert torch.equal(first(inputs), inputs)
    found = second(inputs)
    assert torch.equal(found[:, 2:6], inputs[:, :, ::2, ::2])
    assert not found[:, :2].any()
    assert not found[:, 6:].any()
    assert third(found).shape == (2, 16, 2, 2)


def test_gru_is_that_of_torch() -> None:
    torch.manual_seed(0)
    network = model("gru", width=4, bidirectional=True).make(Inputs((2, 5)), 3)
    gru = next(part for part in network.modules() if isinstance(part, nn.GRU))
    last = next(part for part in network.modules() if isinstance(part, nn.Linear))
    inputs = torch.randn(6, 2, 5)
    states, _ = gru(inputs.permute(0, 2, 1))
    assert torch.equal(network(inputs), last(states.reshape(6, 5 * 8)))


def test_gru_reads_tokens_one_way() -> None:
    network = model("gru", **GRU).make(Inputs((6,), 13), 13)
    assert_causal(network, 13, 6)


def assert_causal(network: nn.Module, tokens: int, length: int) -> None:
    """A token changes the logits from its own place on, and none before."""
    network.eval()
    inputs = torch.randint(tokens, (3, length), generator=torch.Generator().manual_seed(0))
    logits = network(inputs)
    for place in range(length):
        changed = inputs.clone()
        changed[:, place] = (changed[:, place] + 1) % tokens
        found = network(changed)
        assert torch.allclose(found[:, :place], logits[:, :place], atol=1e-6)
        for later in range(place, length):
            assert not torch.allclose(found[:, later], logits[:, later], atol=1e-6)


def spread(network: nn.Module) -> nn.Module:
    """Larger weights, so that what is wrong somewhere in the network is seen at its end."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.5, generator=torch.Generator().manual_seed(weight.numel()))
    return network


@pytest.mark.parametrize("bias", [False, True])
def test_transformer_sees_what_came_before(bias: bool) -> None:
    assert_causal(spread(model("transformer", **GPT | {"bias": bias}).make(Inputs((6,), 13), 13)), 13, 6)


def reference_gpt(weights: dict[str, Tensor], tokens: Tensor, heads: int) -> Tensor:
    """GPT-2 spelled out for two blocks, with a softmax over a masked product for each head."""

    def norm(values: Tensor, name: str) -> Tensor:
        return layer_norm(values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def affine(values: Tensor, name: str) -> Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    length = tokens.shape[1]
    hidden = weights["0.tokens.weight"][tokens] + weights["0.positions.weight"][:length]
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    for block in ("1", "2"):
        attention, perceptron = f"{block}.0.layers", f"{block}.1.layers"
        parts = affine(norm(hidden, f"{attention}.0"), f"{attention}.1.project").chunk(3, dim=-1)
        mixed = []
        for query, key, value in zip(*(part.chunk(heads, dim=-1) for part in parts), strict=True):
            scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
            mixed.append(scores.masked_fill(future, -math.inf).softmax(-1) @ value)
        hidden = hidden + affine(torch.cat(mixed, -1), f"{attention}.1.out")
        inner = gelu(affine(norm(hidden, f"{perceptron}.0"), f"{perceptron}.1"))
        hidden = hidden + affine(inner, f"{perceptron}.3")
    return norm(hidden, "3") @ weights["0.tokens.weight"].T


def test_transformer_is_gpt() -> None:
    network = spread(model("transformer", **GPT | {"bias": True}).make(Inputs((6,), 13), 13))
    tokens = torch.randint(13, (3, 6), generator=torch.Generator().manual_seed(1))
    expected = reference_gpt(dict(network.named_parameters()), tokens, heads=2)
    assert torch.allclose(network(tokens), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_size_of_the_transformer(bias: bool, tied: bool) -> None:
    tokens, length, width, layers = 65, 64, 128, 4
    affine = sum(
        a * b + bias * b for a, b in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    )
    norm = width * (1 + bias)
    expected = (tokens + length) * width + layers * (affine + 2 * norm) + norm + (0 if tied else 10 * width)
    network = model("transformer", layers=layers, heads=4, width=width, bias=bias).make(
        Inputs((length,), tokens), tokens if tied else 10
    )
    assert sum(weight.numel() for weight in network.parameters()) == expected


def test_transformer_begins_knowing_nothing() -> None:
    torch.manual_seed(0)
    network = model("transformer", bias=True).make(Inputs((64,), 65), 65)
    tokens, labels = torch.randint(65, (2, 32, 64))
    loss = cross_entropy(network(tokens).flatten(0, 1), labels.flatten())
    assert loss.item() == pytest.approx(math.log(65), abs=0.05)
    for name, weight in network.named_parameters():
        if weight.ndim == 2:
            last = name.endswith(("out.weight", "3.weight"))
            assert float(weight.detach().std()) == pytest.approx(0.02 / math.sqrt(8) if last else 0.02, rel=0.05), name
        else:
            assert torch.equal(weight, torch.full_like(weight, float("bias" not in name))), name


def test_no_decay_is_that_of_nanogpt() -> None:
    """All that multiplies or looks up decays, biases and norms do not."""
    network = model("transformer", **GPT | {"bias": True}).make(Inputs((9,), 13), 13)
    groups = {group["name"]: group["params"] for group in parameter_groups(network, 0.1, {}, no_decay=True)}
    kinds = (nn.Linear, nn.Embedding)
    decayed = {id(part.weight) for part in network.modules() if isinstance(part, kinds)}
    assert {id(weight) for weight in groups["rest"]} == decayed
    assert {id(weight) for weight in groups["no_decay"]} == {id(w) for w in network.parameters()} - decayed


def test_dropout_is_for_training() -> None:
    torch.manual_seed(0)
    for name, parameters in (("gru", GRU), ("transformer", GPT)):
        network = model(name, **parameters | {"dropout": 0.5}).make(Inputs((9,), 13), 13)
        tokens = torch.randint(13, (4, 9))
        assert not torch.equal(network(tokens), network(tokens))
        network.eval()
        assert torch.equal(network(tokens), network(tokens))


class StubOfTimm(ModuleType):
    asked: tuple[Any, ...] = ()

    def create_model(self, *args: Any, **kwargs: Any) -> nn.Module:
        self.asked = (args, kwargs)
        return nn.Flatten()


def test_timm_is_asked_for_what_fits_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubOfTimm("timm")
    monkeypatch.setitem(sys.modules, "timm", stub)
    parameters = {"architecture": "resnet18", "pretrained": True, "parameters": {"drop_rate": 0.1}}
    assert isinstance(model("timm", **parameters).make(Inputs((1, 28, 28)), 7), nn.Flatten)
    assert stub.asked == (("resnet18",), {"pretrained": True, "num_classes": 7, "in_chans": 1, "drop_rate": 0.1})


def test_timm_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match=r'pip install "lrtrain\[timm\]"'):
        model("timm").make(Inputs(PICTURE), 10)


TRAINED = {
    "mlp": "model=mlp model.hidden=[16,16] model.batch_norm=true model.residual=true",
    "cnn": "model=cnn model.channels=[8] model.kernels=[5] model.stride=2 model.padding=2 model.pool=1 batch_size=128",
    "resnet": "model=resnet model.depth=8 model.width=4 batch_size=128",
}


@pytest.mark.parametrize("arguments", TRAINED.values(), ids=TRAINED.keys())
def test_model_learns(arguments: str, train: Train) -> None:
    run = train(*arguments.split(), "optimizer=adam", "lr=0.01", "trainer=cpu", "epochs=3", "logger=none")
    assert run.summary["final"]["test_acc"] > 0.5, "one in ten is right by chance"


def learned(network: nn.Module, inputs: Tensor, labels: Tensor, updates: int) -> float:
    """The share of right answers after some updates of Adam."""
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(updates):
        optimizer.zero_grad()
        loss = cross_entropy(network(inputs).flatten(0, -2), labels.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float((network(inputs).argmax(-1) == labels).float().mean())


@pytest.mark.parametrize(("name", "parameters"), [("gru", GRU | {"width": 24}), ("transformer", GPT | {"width": 16})])
def test_model_of_tokens_learns_what_to_look_back_for(name: str, parameters: dict[str, Any]) -> None:
    """The label of a token is the token before it."""
    torch.manual_seed(0)
    tokens = torch.randint(5, (64, 8))
    before = torch.cat([torch.zeros(64, 1, dtype=torch.int64), tokens[:, :-1]], dim=1)
    assert learned(model(name, **parameters).make(Inputs((8,), 5), 5), tokens, before, updates=200) > 0.95


@pytest.mark.parametrize(("name", "parameters"), [("gru", GRU), ("cnn", CNN | {"channels": [8], "dropout": 0.0})])
def test_model_of_series_learns(name: str, parameters: dict[str, Any]) -> None:
    """The class is whether the series rises or falls."""
    torch.manual_seed(0)
    labels = torch.randint(2, (64,))
    series = (2 * labels - 1)[:, None, None] * torch.linspace(-1, 1, 12) + 0.3 * torch.randn(64, 1, 12)
    assert learned(model(name, **parameters).make(Inputs((1, 12)), 2), series, labels, updates=60) > 0.95
