"""The optimizers: their settings are torch's, their rates the schedule's, and a run goes on exactly with each."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import SMALL, CommandLine, Train, settings_of
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer

from lrtrain import Scheduler
from lrtrain.configs import config_dir
from lrtrain.optimizers import averages_weights, optimizer, split_groups
from lrtrain.optimizers.building import LEFT_OUT as LEFT_OUT_OF_ALL
from lrtrain.optimizers.building import optimizer_class
from lrtrain.plan.start import Start
from lrtrain.run_folder.folder import RunFolder
from lrtrain.schedules import constant, cosine, inverse_time, warmup
from lrtrain.training.loader import Batch
from lrtrain.training.module import Supervised
from lrtrain.training.run import run_in

NAMES = sorted(path.stem for path in (config_dir() / "optimizer").glob("*.yaml") if path.stem != "custom")
TECHNICAL = {"params", "foreach", "maximize", "capturable", "differentiable", "fsdp_in_use"}
"""How an optimizer computes, not what."""
LEFT_OUT = {
    "adagrad": {"lr_decay"},  # scheduler=inverse_time every=1st per=step
    "schedulefree_sgd": {"warmup_steps"},  # warmup=
    "schedulefree_adamw": {"warmup_steps"},
}
OURS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9},
    "muon": {"lr": 0.02, "adamw": None, "adamw_lr": 3e-4},
}
"""Where a default is not the optimizer's own, or a key is added."""


def settings(name: str) -> dict[str, Any]:
    """A configuration's settings with the base rate, as plain values."""
    values = OmegaConf.to_container(OmegaConf.load(config_dir() / "optimizer" / f"{name}.yaml"))
    assert isinstance(values, dict)
    own = values.get("optimizer", values)
    lr = values.get("lr", 0.1)
    return {"lr": lr, **{str(key): value for key, value in own.items() if key != "name"}}


def signature(kind: Any, prefix: str = "") -> dict[str, Any]:
    found = {name: value.default for name, value in inspect.signature(kind).parameters.items()}
    return {
        prefix + name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if name not in TECHNICAL
    }


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_library(name: str) -> None:
    theirs = signature(torch.optim.Muon if name == "muon" else optimizer_class(name))
    if name == "muon":
        adamw = signature(torch.optim.AdamW, "adamw_")
        theirs |= {key: adamw[key] for key in ("adamw_betas", "adamw_eps", "adamw_weight_decay")}
    expected = {key: value for key, value in theirs.items() if key not in LEFT_OUT.get(name, set())}
    assert settings(name) == expected | OURS.get(name, {})


def test_all_of_torch_is_there() -> None:
    theirs = {kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)}
    ours = {optimizer_class(name) for name in NAMES} | {torch.optim.Muon}
    assert theirs - ours == {Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam}
    assert LEFT_OUT_OF_ALL.keys() == {"LBFGS", "SparseAdam"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("optimizer=prodigy", None),
        ("optimizer=prodigy lr=0.1", "warning: optimizer=prodigy finds its rate itself, and lr=0.1 multiplies that"),
        (
            "optimizer=rprop",
            "warning: optimizer=rprop ignores the schedule after the first update: it adapts its rates itself",
        ),
    ],
)
def test_warnings(arguments: str, said: str | None, command_line: CommandLine) -> None:
    out = command_line(*arguments.split(), "task=preview", "scheduler=cosine").out
    assert (said in out) if said else ("warning:" not in out)


def test_an_optimizer_brings_its_own_rate() -> None:
    assert settings_of("optimizer=adamw").lr == 0.001
    assert settings_of("optimizer=adamw", "lr=0.5").lr == 0.5
    assert settings_of().lr == 0.1


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5), nn.Linear(5, 2))


def descend(model: nn.Module, *optimizers: Optimizer, updates: int = 4) -> list[Tensor]:
    """The weights after a few updates on fixed data."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        inputs = torch.randn(6, 2, 3, 3, generator=generator)
        model.zero_grad()
        model(inputs).square().sum().backward()
        for each in optimizers:
            each.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def groups(model: nn.Module, lr: float = 0.02) -> list[dict[str, Any]]:
    return [{"params": list(model.parameters()), "lr": lr, "name": "rest", "pattern": ""}]


def muon_groups(model: nn.Module, lr: float = 0.02, **given: Any) -> list[dict[str, Any]]:
    return split_groups(optimizer("muon", **given), model, groups(model, lr), 0.02)


def test_muon_is_torchs_muon_and_adamw() -> None:
    """The convolution as a matrix with a row for each output channel, as in the authors' own code."""
    model, oracle = network(), network()
    ours = descend(model, optimizer("muon").make(muon_groups(model), 0.02))
    convolution, linear, head = (cast(nn.Linear, oracle[index]) for index in (0, 2, 4))
    matrix = nn.Parameter(convolution.weight.detach().flatten(1).clone())
    hidden = {id(convolution.weight), id(linear.weight)}
    others = torch.optim.AdamW([p for p in oracle.parameters() if id(p) not in hidden], lr=3e-4)
    muon = torch.optim.Muon([matrix, linear.weight], lr=0.02)
    assert any(parameter is head.weight for parameter in others.param_groups[0]["params"])
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        inputs = torch.randn(6, 2, 3, 3, generator=generator)
        oracle.zero_grad()
        oracle(inputs).square().sum().backward()
        assert convolution.weight.grad is not None
        matrix.grad = convolution.weight.grad.flatten(1)
        muon.step()  # type: ignore[no-untyped-call]
        others.step()
        convolution.weight.data.copy_(matrix.data.view_as(convolution.weight))
    assert all(torch.equal(a, b) for a, b in zip(ours, oracle.parameters(), strict=True))


def test_one_schedule_moves_the_rates_of_muon_and_adamw() -> None:
    model = network()
    both = optimizer("muon").make(muon_groups(model, lr=0.04), 0.02)
    scheduler = Scheduler(both, cosine(), total_steps=4)
    rates = []
    for _ in range(4):
        rates.append({group["name"]: group["lr"] for group in both.param_groups})
        descend(model, both, updates=1)
    factors = [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert scheduler.last_epoch == 4
    assert [rate["rest"] for rate in rates] == pytest.approx([0.04 * factor for factor in factors], rel=1e-12)
    # A group at twice the base rate has twice that of AdamW, too.
    assert [rate["rest_adamw"] for rate in rates] == pytest.approx([6e-4 * factor for factor in factors], rel=1e-12)


def test_muon_takes_what_it_is_told() -> None:
    model = network()
    taken = muon_groups(model, adamw=["0.*"])
    assert [tuple(p.shape) for p in taken[0]["params"]] == [(5, 12), (2, 5)]
    with pytest.raises(ValueError, match=r"optimizer\.adamw: 'body.\*' matches no parameter"):
        muon_groups(model, adamw=["body.*"])


def test_embeddings_are_not_for_muon() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 7, bias=False))
    assert [p.shape for p in muon_groups(model)[0]["params"]] == [(4, 4)]


def test_muon_of_nothing_is_refused(train: Train, tmp_path: Path) -> None:
    run = train("optimizer=muon", *SMALL, code=2)
    assert "optimizer=muon is for the weights between a network's first and last layer" in run.result.err
    assert list(tmp_path.iterdir()) == []


def test_schedulefree_warms_up_as_its_own_warm_up() -> None:
    ours, theirs = network(), network()
    own = optimizer("schedulefree_adamw").make(groups(ours), 0.0025)
    Scheduler(own, warmup(constant(), "3st"), total_steps=6)
    oracle = optimizer_class("schedulefree_adamw")(groups(theirs), lr=0.0025, warmup_steps=3)  # type: ignore[call-arg]
    for each in (own, oracle):
        each.train()  # type: ignore[union-attr]
    pairs = zip(descend(ours, own, updates=6), descend(theirs, oracle, updates=6), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in pairs)


def test_adagrads_decay_is_inverse_time() -> None:
    ours, theirs = network(), network()
    own = optimizer("adagrad").make(groups(ours, lr=0.01), 0.01)
    Scheduler(own, inverse_time(decay=0.5, every="1st", per="step"), total_steps=6, steps_per_epoch=2)
    oracle = torch.optim.Adagrad(theirs.parameters(), lr=0.01, lr_decay=0.5)
    pairs = zip(descend(ours, own, updates=6), descend(theirs, oracle, updates=6), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in pairs)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_fused_is_the_same(name: str) -> None:
    weights = []
    for fused in (False, True):
        model = network()
        weights.append(descend(model, optimizer(name, fused=fused).make(groups(model), 0.02)))
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_fused_is_left_to_torch(name: str) -> None:
    """None fuses on the CPU, and not where the weights are not floating point numbers on a device that has it."""
    model = network()
    assert optimizer(name).make(groups(model), 0.02).defaults["fused"] is True
    assert optimizer(name, fused=False).make(groups(model), 0.02).defaults["fused"] is False
    assert optimizer(name).make(groups(model.to("meta")), 0.02).defaults["fused"] is None


def test_groups_are_copied() -> None:
    own = groups(network())
    optimizer("adam").make(own, 0.02).param_groups[0]["lr"] = 7.0
    assert own[0].keys() == {"params", "lr", "name", "pattern"}
    assert own[0]["lr"] == 0.02


def test_prodigy_has_one_group() -> None:
    model = network()
    whole = groups(model)
    assert split_groups(optimizer("prodigy"), model, whole, 0.02) == whole
    for other in ({"pattern": "1.*"}, {"lr": 0.01}):
        with pytest.raises(ValueError, match="optimizer=prodigy has one rate for all parameters"):
            split_groups(optimizer("prodigy"), model, [*whole, whole[0] | other], 0.02)


def test_which_average_the_weights() -> None:
    found = {name for name in NAMES if averages_weights(optimizer(name))}
    assert found == {"schedulefree_sgd", "schedulefree_adamw", "schedulefree_radam"}
    assert averages_weights(optimizer("custom", function="schedulefree:SGDScheduleFree"))
    assert not averages_weights(optimizer("custom", function="torch.optim:SGD"))


def test_optimizers_pickle() -> None:
    for name in NAMES:
        assert pickle.loads(pickle.dumps(optimizer(name))) == optimizer(name)


def test_lists_among_the_users_own_parameters_are_tuples() -> None:
    bound = optimizer("custom", function="torch.optim:Adam", parameters={"betas": [0.8, 0.9], "weight_decay": 0.1})
    made = bound.make(groups(network()), 0.02)
    assert (made.defaults["betas"], made.defaults["weight_decay"]) == ((0.8, 0.9), 0.1)


def test_optimizer_of_the_users_own(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signs of the gradient, from a module that lrtrain knows nothing of."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Signs(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr, scale=1.0):\n"
        "        super().__init__(params, {'lr': lr, 'scale': scale})\n"
        "    @torch.no_grad()\n"
        "    def step(self, closure=None):\n"
        "        loss = closure()\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p.sub_(p.grad.sign(), alpha=group['lr'] * group['scale'])\n"
        "        return loss\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(
            "torch.nn.Linear.reset_parameters", lambda layer: [nn.init.zeros_(p) for p in layer.parameters()]
        )
        run = train("optimizer=custom", "optimizer.function=mine:Signs", "optimizer.parameters={scale:0.5}", *SMALL,
                    "lr=0.25", "scheduler=constant", "epochs=1")  # fmt: skip
    weights = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["model.1.bias"]
    assert set((weights / 0.125).tolist()) <= {-4, -2, 0, 2, 4}, "four steps of an eighth"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("optimizer=custom", "optimizer.function must be a place such as"),
        ("optimizer=custom optimizer.function=torch.optim", "optimizer.function must be a place such as"),
        ("optimizer=custom optimizer.function=no_such:Thing", "names 'no_such:Thing', which cannot be imported"),
        ("optimizer=custom optimizer.function=math:sqrt", "math:sqrt is not a torch.optim.Optimizer"),
        ("optimizer=custom optimizer.function=torch.optim:LBFGS", "torch.optim:LBFGS evaluates the loss several times"),
        ("optimizer=custom optimizer.function=torch.optim:SparseAdam", "takes sparse gradients only"),
        ("optimizer=prodigy groups={1.*:0.1}", "optimizer=prodigy has one rate for all parameters"),
        ("optimizer=adafactor optimizer.eps=[1,2,x]", "optimizer.eps must be"),
        ("optimizer=schedulefree_sgd ema=0.9", "averages the weights itself: leave out ema"),
        ("optimizer=sgd optimizer.nesterov=true optimizer.momentum=0", "Nesterov momentum requires"),
    ],
)
def test_refused(arguments: str, said: str, train: Train, tmp_path: Path) -> None:
    run = train(*arguments.split(), *SMALL, code=2)
    assert said in run.result.err
    assert len(run.result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_an_extra_installs(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrtrain.optimizers.building.find_spec", lambda name: None)
    for name, extra in (("schedulefree_sgd", "schedulefree"), ("prodigy", "prodigy")):
        assert f'pip install "lrtrain[{extra}]"' in train(f"optimizer={name}", *SMALL, code=2).result.err


UPDATES = 5
RUN = (
    *("model=mlp", "model.hidden=[8]", "trainer=cpu", "trainer.enable_progress_bar=false", "logger=none", "epochs=2"),
    *("batch_size=126", "trainer.limit_train_batches=5", "scheduler=cosine", "warmup=2st", "checkpoint_every=3st"),
)
"""Two epochs of five updates; the last checkpoint before the eighth is of the sixth, in mid-epoch."""

CHOICES = [
    *(f"optimizer={name}" for name in NAMES if name.startswith("schedulefree") or name in ("adamw", "prodigy")),
    *("optimizer=muon model=cnn", "ema=0.8 model=cnn"),
]
"""What has a state of its own besides torch's: test_state_is_all_there looks at that of every optimizer."""


def test_state_is_all_there(tmp_path: Path) -> None:
    """An optimizer that is given another's state, as a checkpoint has it, takes the same steps from there on."""
    for name in NAMES:
        model, again = network(), network()
        first = optimizer(name).make(split_groups(optimizer(name), model, groups(model), 0.02), 0.02)
        for each in (first,) if averages_weights(optimizer(name)) else ():
            each.train()
        descend(model, first, updates=3)
        torch.save({"model": model.state_dict(), "optimizer": first.state_dict()}, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        second = optimizer(name).make(split_groups(optimizer(name), again, groups(again), 0.02), 0.02)
        again.load_state_dict(state["model"])
        second.load_state_dict(state["optimizer"])
        pairs = zip(descend(model, first, updates=2), descend(again, second, updates=2), strict=True)
        assert all(torch.equal(*pair) for pair in pairs), name


@pytest.mark.parametrize("choice", CHOICES)
def test_goes_on_exactly(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (word for word in RUN if not word.startswith("model") or "cnn" not in choice)
    asked = settings_of(*words, *choice.split())
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    assert run_in(asked, whole.path).status == "finished"
    original = Supervised.training_step
    with monkeypatch.context() as patched:
        batches = iter(range(100))

        def training_step(module: Supervised, batch: Batch, batch_idx: int) -> Tensor:
            if next(batches) == 7:
                raise RuntimeError("the machine is on fire")
            return original(module, batch, batch_idx)

        patched.setattr(Supervised, "training_step", training_step)
        failed = run_in(asked, stopped.path)
    assert failed.status == "failed"
    assert isinstance(failed.exception, RuntimeError)
    assert str(failed.exception) == failed.error == "the machine is on fire"
    assert loaded(stopped)["lr_schedulers"][0]["step"] == 6
    assert run_in(asked, stopped.path, start=Start.resume(stopped)).status == "finished"
    ours, theirs = loaded(stopped), loaded(whole)
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert_same(ours.get(part), theirs.get(part))
    assert stopped.metrics.read_text() == whole.metrics.read_text()


def loaded(folder: RunFolder) -> dict[str, Any]:
    return dict(torch.load(folder.last_checkpoint, weights_only=True))


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list):
        for pair in zip(ours, theirs, strict=True):
            assert_same(*pair)
    elif isinstance(theirs, Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs
