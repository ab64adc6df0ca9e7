"""What is told of a sample: the losses, metrics, scaling and files of each objective, against independent oracles."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import CommandLine, Result, read_csv, run_line, said_of
from numpy.typing import NDArray
from scipy.special import expit, log_softmax
from sklearn import metrics as sklearn
from torch import Tensor
from torch.func import grad, vmap

import lrtrain
from lrtrain.datasets import dataset, read
from lrtrain.objectives import Objective, Raw, Targets, choose, functional, objective
from lrtrain.objectives.metrics import DIRECTIONS, FAMILIES, SHORT, direction, make_metrics
from lrtrain.run_folder.summary import Summary
from lrtrain.training.measures import Measures

RANDOM = np.random.default_rng(0)
LOGITS, LABELS = RANDOM.normal(size=(50, 7)), RANDOM.integers(0, 7, 50)
VALUES, TRUTHS = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(50, 3))
ONES = (RANDOM.random((50, 3)) > 0.6).astype(float)
WEIGHTS = np.array([0.5, 1, 2, 3, 0.1, 1, 4])

Array = NDArray[Any]


def cross_entropy(smoothing: float) -> Array:
    """Szegedy et al. 2016, section 7, with a weight on each term of the sum, as torch has it."""
    wanted = (1 - smoothing) * np.eye(7)[LABELS] + smoothing / 7
    return np.asarray(-(wanted * WEIGHTS * log_softmax(LOGITS, axis=1)).sum(axis=1))


def focal() -> Array:
    true = np.exp(log_softmax(LOGITS, axis=1))[np.arange(50), LABELS]
    return np.asarray(-WEIGHTS[LABELS] * (1 - true) ** 3 * np.log(true))


def bce(weight: float, gamma: float = 0.0) -> Array:
    """Lin et al. 2017, equation 5; with gamma = 0, binary cross-entropy with a weight on the ones."""
    p = expit(VALUES)
    terms = weight * ONES * (1 - p) ** gamma * np.log(p) + (1 - ONES) * p**gamma * np.log(1 - p)
    return np.asarray(-terms.mean(axis=1))


def huber(delta: float) -> Array:
    error = np.abs(VALUES - TRUTHS)
    return np.asarray(np.where(error < delta, 0.5 * error**2, delta * (error - 0.5 * delta)).mean(axis=1))


ERROR, WEIGHED = TRUTHS - VALUES, {"weights": torch.tensor(WEIGHTS)}
LOSSES: list[tuple[str, dict[str, Any], Array, Array, Array]] = [
    ("cross_entropy", {**WEIGHED, "label_smoothing": 0.2}, LOGITS, LABELS, cross_entropy(0.2)),
    ("focal", {**WEIGHED, "gamma": 3.0}, LOGITS, LABELS, focal()),
    ("mse", {}, VALUES, TRUTHS, (ERROR**2).mean(axis=1)),
    ("mae", {}, VALUES, TRUTHS, np.abs(ERROR).mean(axis=1)),
    ("huber", {"delta": 0.5}, VALUES, TRUTHS, huber(0.5)),
    ("quantile", {"level": 0.9}, VALUES, TRUTHS, np.where(ERROR > 0, 0.9 * ERROR, -0.1 * ERROR).mean(axis=1)),
    ("bce", {"weights": torch.full((3,), 2.5)}, VALUES, ONES, bce(2.5)),
    ("binary_focal", {"weights": torch.full((3,), 2.5), "gamma": 2.0}, VALUES, ONES, bce(2.5, 2.0)),
]


@pytest.mark.parametrize(("name", "options", "outputs", "targets", "expected"), LOSSES)
def test_losses(name: str, options: dict[str, Any], outputs: Array, targets: Array, expected: Array) -> None:
    function: Callable[..., Tensor] = getattr(functional, name)
    given = torch.tensor(outputs), torch.tensor(targets)
    assert function(*given, reduction="none", **options).numpy() == pytest.approx(expected, rel=1e-9)
    assert function(*given, **options).item() == pytest.approx(expected.mean(), rel=1e-9)


def test_a_quantile_is_what_its_loss_is_least_for() -> None:
    samples = torch.tensor(np.sort(RANDOM.normal(size=101)))[:, None]
    means = [functional.quantile(value.expand(101, 1), samples, level=0.9).item() for value in samples]
    assert int(np.argmin(means)) == 90  # a tenth of the samples is above


def made(name: str, targets: Targets, **settings: Any) -> Objective:
    found: Objective = objective(name, **settings).make(targets)
    return found


CLASSES = Targets("classification", 3, ("a", "b", "c"), counts=(60, 30, 10), samples=100)
LABELLED = Targets("multilabel", 2, ("a", "b"), counts=(20, 50), samples=100)
COLUMNS = Targets("regression", 2, ("a", "b"), standards={"a": (100.0, 5.0), "b": (-3.0, 0.1)})


def test_class_weights() -> None:
    """All classes, or ones and zeros, count alike; the mean weight of a training sample is 1."""
    one = torch.zeros(1, 3), torch.zeros(1, 2)
    each = [
        made("classification", CLASSES, class_weights="balanced").losses(one[0], torch.tensor([k])) for k in range(3)
    ]
    totals = [count * float(loss) for count, loss in zip((60, 30, 10), each, strict=True)]
    assert totals == pytest.approx([100 / 3 * np.log(3)] * 3)
    listed = made("classification", CLASSES, class_weights=[1, 2, 3])
    ratio = [float(listed.losses(one[0], torch.tensor([k]))) / np.log(3) for k in range(3)]
    assert ratio == pytest.approx([1 / 1.5, 2 / 1.5, 3 / 1.5])
    for label, weight in ((0, 80 / 20), (1, 50 / 50)):
        told = torch.zeros(1, 2)
        told[0, label] = 1
        found = made("multilabel", LABELLED, class_weights="balanced").losses(one[1], told)
        assert float(found) == pytest.approx((weight + 1) / 2 * np.log(2))


@pytest.mark.parametrize(
    ("targets", "settings", "told"),
    [
        (CLASSES, {"class_weights": "balanced", "loss": "focal"}, torch.tensor([[0, 2], [1, 1]])),
        (CLASSES, {"label_smoothing": 0.1}, torch.tensor([[0, 2], [1, 1]])),
        (COLUMNS, {"loss": "quantile", "level": 0.3}, torch.randn(2, 2, 2)),
        (LABELLED, {"class_weights": [2, 3]}, torch.ones(2, 2, 2)),
    ],
)
def test_the_loss_of_many_networks_at_once(targets: Targets, settings: dict[str, Any], told: Tensor) -> None:
    """It is a pure function, which `torch.func` maps and differentiates."""
    loss, outputs = made(targets.objective, targets, **settings).loss, torch.randn(2, 2, targets.outputs)
    together = vmap(grad(loss))(outputs, told)
    for k in range(2):
        own = outputs[k].clone().requires_grad_()
        [expected] = torch.autograd.grad(loss(own, told[k]), own)
        torch.testing.assert_close(together[k], expected)


def column(*values: object) -> Raw:
    """A target as a table has it."""
    texts = list(map(str, values))
    numbers = None if any(isinstance(value, str) for value in values) else np.array([values], float).T
    return Raw("column 'y'", numbers, [texts], ("y",))


CHOICES: dict[str, tuple[Raw, str]] = {
    "texts": (column("cat", "dog"), "classification"),
    "few whole numbers": (column(3, 3, 4, 4), "classification"),
    "whole numbers that do not recur": (column(3, 4, 5, 5), "regression"),
    "many whole numbers": (column(*[*range(21)] * 2), "regression"),
    "fractions": (column(0.5, 0.5, 1, 1), "regression"),
    "an array of whole numbers": (Raw("y", np.arange(50)[:, None]), "classification"),
    "an array of floats": (Raw("y", np.ones((50, 1))), "regression"),
    "zeros and ones": (Raw("y", np.eye(2)), "multilabel"),
    "columns of numbers": (Raw("y", np.array([[0, 1], [2, 1]])), "regression"),
}


@pytest.mark.parametrize(("raw", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_the_targets_choose(raw: Raw, expected: str) -> None:
    assert choose(raw)[0] == expected
    assert choose(raw, "regression")[0] == "regression", "what is asked for is taken"


def test_directions_are_those_of_torchmetrics() -> None:
    families = {"classification": ("acc", "f1", "precision", "recall", "auroc"), "multilabel": ("map",)}
    families["regression"] = ("mae", "mse", "rmse", "mape", "r2")
    for family, names in families.items():
        for name, make in make_metrics(names, family, 3).items():
            assert direction(f"val_{name}") == ("max" if make().higher_is_better else "min"), name
    assert {name for names in families.values() for name in names} | {"loss", "error", "accuracy", "perplexity"} == {
        *DIRECTIONS
    }
    known = {"top5": "max", "f1_macro": "max", "matthews_corr_coef": "max", "ece": "min", "spearman": "max"}
    assert {name: direction(f"test_{name}") for name in known} == known
    assert direction("val_score") == ""


def test_every_short_name_is_a_metric() -> None:
    for name in SHORT:
        refused = [said_of(partial(make_metrics, [name], family, 3)) for family in FAMILIES]
        assert not all(refused), name


def test_metrics_are_those_of_scikit_learn() -> None:
    probabilities = np.exp(log_softmax(LOGITS, axis=1))
    names = ["f1_macro", "auroc", "top5", "mcc"]
    expected = [
        sklearn.accuracy_score(LABELS, LOGITS.argmax(1)),
        sklearn.f1_score(LABELS, LOGITS.argmax(1), average="macro"),
        sklearn.roc_auc_score(LABELS, probabilities, multi_class="ovr"),
        sklearn.top_k_accuracy_score(LABELS, probabilities, k=5),
        sklearn.matthews_corrcoef(LABELS, LOGITS.argmax(1)),
    ]
    own = made("classification", Targets("classification", 7), metrics=names)
    assert own.scores is not None
    assert measured(own, LOGITS, LABELS) == pytest.approx(expected, rel=1e-5)
    own = made("multilabel", Targets("multilabel", 3), metrics=["hamming"])
    expected = [
        sklearn.average_precision_score(ONES, VALUES, average="macro"),
        sklearn.f1_score(ONES, VALUES > 0, average="macro"),
        sklearn.hamming_loss(ONES, VALUES > 0),
    ]
    assert measured(own, VALUES, ONES) == pytest.approx(expected, rel=1e-5)
    own = made("multilabel", Targets("multilabel", 3), threshold=0.7)
    assert measured(own, VALUES, ONES)[1] == pytest.approx(
        sklearn.f1_score(ONES, np.log(0.7 / 0.3) < VALUES, average="macro"), rel=1e-5
    )
    own = made("regression", COLUMNS, metrics=["mape"])
    true, told = TRUTHS[:, :2] * (5, 0.1) + (100, -3), VALUES[:, :2] * (5, 0.1) + (100, -3)
    expected = [
        sklearn.r2_score(true, told),
        sklearn.mean_absolute_error(true, told),
        sklearn.root_mean_squared_error(true, told),
        sklearn.mean_absolute_percentage_error(true, told),
    ]
    assert measured(own, VALUES[:, :2], TRUTHS[:, :2]) == pytest.approx(expected, rel=1e-5)


def test_a_label_is_predicted_above_the_threshold() -> None:
    layout = made("multilabel", LABELLED, threshold=0.7).layout(False, None)
    [row] = layout.rows(torch.tensor([[0.6, 0.8]]), torch.empty(0))
    assert dict(zip(layout.columns, row, strict=True)).items() >= {"predicted_a": 0, "predicted_b": 1}.items()


def measured(own: Objective, outputs: Array, targets: Array) -> list[float]:
    """What the metrics of an objective are beside the loss, in two batches."""
    measures = Measures(own)
    for part in (slice(0, 20), slice(20, None)):
        measures.update(torch.tensor(outputs[part]), torch.tensor(targets[part]))
    return [float(value.mean()) for _, value in measures.compute()][1:]


class Trained(NamedTuple):
    """A finished run on a table."""

    folder: Path
    file: Path
    words: list[str]
    summary: Summary

    def task(self, place: Path, *words: str) -> tuple[Result, Path]:
        result = run_line(place, *words, f"checkpoint={self.folder}", "trainer=cpu", f"hydra.run.dir={place / 'out'}")
        return result, place / "out"


def table(file: Path, names: list[str], rows: Array) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([names, *rows.tolist()])


INPUTS = RANDOM.normal(size=(120, 2))
SUMS = np.stack([50 + 9 * INPUTS.sum(1), 2000 + INPUTS[:, 0]], axis=1)
SIGNS = (INPUTS @ np.array([[1, 0.5], [1, -1]]) > 0).astype(float)
SHORT_RUN = ["model=linear", "epochs=4", "lr=0.1", "batch_size=16", "trainer=cpu", "logger=none"]


def trained(place: Path, told: Array, *words: str) -> Trained:
    file = place / "table.csv"
    table(file, ["a", "b", "u", "v"], np.concatenate([INPUTS, told], axis=1))
    named = ["dataset=csv", f"dataset.file={file}", "dataset.target=[u,v]", *SHORT_RUN, *words]
    return Trained(place / "run", file, named, lrtrain.train(named, folder=place / "run", quiet=True))


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(
        tmp_path_factory.mktemp("numbers"), SUMS, "scheduler=plateau", "monitor=val_mae", "objective.loss=huber"
    )


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("labels"), SIGNS, "monitor=val_map", "objective.metrics=[exact_match]")


def test_numbers_are_standardised_and_given_back(numbers: Trained, tmp_path: Path) -> None:
    splits = read(dataset("csv", file=str(numbers.file), target=["u", "v"]))
    standards = np.array(list(numbers.summary.data["standards"].values()))
    labels = splits.train.labels.double().numpy()
    assert labels.mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert labels.std(axis=0) == pytest.approx(1, rel=1e-6)
    result, folder = numbers.task(tmp_path, "task=predict")
    assert result.code == 0, result.err
    rows = read_csv(folder / "predictions.csv")
    true, told = (
        np.array([[float(row[f"{what}_{name}"]) for name in "uv"] for row in rows]) for what in ("true", "predicted")
    )
    assert true == pytest.approx(splits.test.labels.numpy() * standards[:, 1] + standards[:, 0], rel=1e-6)
    assert all(np.abs(SUMS - row).max(axis=1).min() < 1e-4 for row in true), "as they stand in the file"
    best = numbers.summary.best
    assert best["test_mae"] == pytest.approx(sklearn.mean_absolute_error(true, told), rel=1e-4)
    assert best["test_r2"] == pytest.approx(sklearn.r2_score(true, told), rel=1e-4)
    error = np.abs(true - told) / standards[:, 1]
    loss = np.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    assert best["test_loss"] == pytest.approx(loss, rel=1e-4), "which is of standardised values"
    assert numbers.summary.monitor == "val_mae"
    assert list(read_csv(numbers.folder / "metrics.csv")[0])[-8:] == [
        f"{split}_{name}" for split in ("val", "test") for name in ("loss", "r2", "mae", "rmse")
    ]


@pytest.mark.usefixtures("rendered")
def test_numbers_are_evaluated(numbers: Trained, tmp_path: Path) -> None:
    result, folder = numbers.task(tmp_path, "task=evaluate")
    assert result.code == 0, result.err
    each = read_csv(folder / "per_target.csv")
    assert [row["target"] for row in each] == ["u", "v"]
    assert np.mean([float(row["rmse"]) for row in each]) == pytest.approx(numbers.summary.best["test_rmse"], rel=1e-5)
    assert all((folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in ("predicted", "residuals"))
    assert "in the data's own unit" in result.out


@pytest.mark.usefixtures("rendered")
def test_labels_are_evaluated_and_predicted(labels: Trained, tmp_path: Path) -> None:
    result, folder = labels.task(tmp_path, "task=predict")
    assert result.code == 0, result.err
    rows = read_csv(folder / "predictions.csv")
    true, told, chance = (
        np.array([[float(row[f"{what}_{name}"]) for name in "uv"] for row in rows])
        for what in ("true", "predicted", "p")
    )
    best = labels.summary.best
    assert best["test_map"] == pytest.approx(sklearn.average_precision_score(true, chance), rel=1e-5)
    assert best["test_f1"] == pytest.approx(sklearn.f1_score(true, told, average="macro"), rel=1e-5)
    assert best["test_exact_match"] == pytest.approx((true == told).all(axis=1).mean())
    (tmp_path / "again").mkdir()
    result, folder = labels.task(tmp_path / "again", "task=evaluate")
    assert result.code == 0, result.err
    expected = sklearn.precision_score(true, told, average=None)
    assert [float(row["precision"]) for row in read_csv(folder / "per_label.csv")] == pytest.approx(
        expected.tolist(), rel=1e-5
    )
    assert (folder / "per_label.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_a_file_without_targets(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its columns stand in another order, among others; the data of the run is not looked at."""
    run: Trained = request.getfixturevalue(kind)
    new = tmp_path / "new.csv"
    table(new, ["more", "b", "a"], np.concatenate([np.arange(5)[:, None] / 7, INPUTS[:5, ::-1]], axis=1))
    result, folder = run.task(tmp_path, "task=predict", f"predict.file={new}", "dataset.file=nowhere.csv")
    assert result.code == 0, result.err
    rows, loaded = read_csv(folder / "predictions.csv"), lrtrain.load(run.folder)
    expected = loaded.predict({"a": INPUTS[:5, 0].tolist(), "b": INPUTS[:5, 1].tolist()})
    column = "predicted" if kind == "numbers" else "p"
    assert [[float(row[f"{column}_{name}"]) for name in "uv"] for row in rows] == pytest.approx(expected, rel=1e-6)
    assert not [name for name in rows[0] if name.startswith("true")]


def test_numbers_go_on(numbers: Trained, tmp_path: Path) -> None:
    whole = lrtrain.train([*numbers.words, "epochs=6"], folder=tmp_path / "whole", quiet=True)
    assert whole.data == numbers.summary.data
    again = lrtrain.train(
        [f"resume={shutil.copytree(numbers.folder, tmp_path / 'again')}", "epochs=6", "resume_plan=keep"], quiet=True
    )
    assert again.final == whole.final


def test_own_loss(tmp_path: Path, command_line: CommandLine) -> None:
    """A function of outputs and targets; a run that names one is gone on with only where the command repeats it."""
    words = [*SHORT_RUN, "dataset=npy", "dataset.inputs=x.npy", "dataset.labels=y.npy", "hydra.run.dir=own"]
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "y.npy", SUMS[:, 0])
    assert command_line(*words, "objective.loss=torch.nn.functional:mse_loss").code == 0
    assert command_line(*words[:-1], "hydra.run.dir=ours").code == 0
    own, ours = (read_csv(tmp_path / name / "metrics.csv") for name in ("own", "ours"))
    assert [row["train_loss"] for row in own] == [row["train_loss"] for row in ours]
    assert float(own[-1]["val_loss"]) == pytest.approx(float(ours[-1]["val_loss"]))
    refused = command_line("resume=own", "epochs=6", "resume_plan=keep")
    assert refused.code == 2
    assert "objective.loss=torch.nn.functional:mse_loss, code to run" in refused.err


REFUSED: dict[str, tuple[str, str]] = {
    "loss of another": ("objective=classification objective.loss=mse", "objective.loss must be cross_entropy or focal"),
    "loss of another, auto": ("objective.loss=mse", "objective.loss must be cross_entropy or focal"),
    "key of an objective": ("objective.label_smoothing=0.1", "it belongs to objective=classification"),
    "key of a loss": ("objective=classification objective.gamma=1", "gamma is of objective.loss=focal"),
    "no metric": ("objective.metrics=[acuracy]", "classification has no metric 'acuracy'; did you mean accuracy?"),
    "no number": ("objective.metrics=[confusion_matrix]", "is more than a number"),
    "no metric to monitor": ("monitor=val_r2", "objective=classification measures val_loss, val_acc"),
    "number of weights": (
        "objective=classification objective.class_weights=[1,2]",
        "2 weights, and there are 10 classes",
    ),
    "classes are no numbers": ("objective=regression", "dataset=digits is for objective=classification"),
    "one target for all tokens": (
        "model=gru dataset=custom dataset.function=user_code:WholeNumbers dataset.classes=3 dataset.tokens=7",
        "model=gru tells something of each token, and there is one target for all",
    ),
    "no zeros and ones": (
        "objective=multilabel dataset=custom dataset.function=user_code:Fractions",
        "objective=multilabel takes labels (n, columns) of zeros and ones",
    ),
    "no such loss": ("objective.loss=nowhere:loss", "there is no module nowhere"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(words: str, said: str, command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line(*words.split(), "epochs=1")
    assert result.code == 2, result.err
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_one_sample_is_too_few_for_r2(command_line: CommandLine, tmp_path: Path) -> None:
    """Of ten rows, one is to validate on unless more are asked for."""
    table = tmp_path / "ten.csv"
    table.write_text("x,y\n" + "".join(f"{row},{row * 2}.5\n" for row in range(10)))
    words = ("dataset=csv", f"dataset.file={table}", "dataset.target=y", "epochs=1", "lr=1e-3", "hydra.run.dir=run")
    result = command_line(*words)
    assert result.code == 2
    assert "the validation split has one sample: Needs at least two samples" in result.err
    assert [*tmp_path.iterdir()] == [table]
    assert command_line(*words, "dataset.validation=0.2").code == 0
    table.write_text("x,y\n" + "".join(f"{row},{row * 2}.5\n" for row in range(5)))
    refused = command_line("task=evaluate", "checkpoint=run", f"dataset.file={table}", "hydra.run.dir=measured")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1), refused.err
    assert "the test split has one sample" in refused.err
    assert not (tmp_path / "measured").exists()


def test_a_users_data_may_have_numbers(command_line: CommandLine, tmp_path: Path) -> None:
    words = ("dataset=custom", "dataset.function=user_code:Fractions", "model=linear", "epochs=1", "trainer=cpu")
    result = command_line(*words, "hydra.run.dir=run")
    assert result.code == 0, result.err
    assert "objective=regression of 1 target" in result.out
    assert {"val_r2", "val_mae"} <= read_csv(tmp_path / "run" / "metrics.csv")[0].keys()
