"""What a dataset means and which samples it has: recorded by a run, and compared when one comes back to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from lrtrain.objectives.targets import Targets
from lrtrain.parameters.bound import Checked
from lrtrain.parameters.rules import ListOf, Number, OptionalCount, OptionalText, OrNull, Table, Text

MEANING = {
    "shape": "the shape of a sample",
    "tokens": "the number of tokens",
    "objective": "the objective",
    "classes": "the number of classes",
    "names": "the names of what is told",
    "standards": "the scaling of the targets",
    "scale": "the scale of bytes",
    "numbers": "the columns of numbers",
    "texts": "the columns of texts",
    "vocabulary": "the characters",
}
"""The fields that must be the same for weights to mean the same, in words."""

MOST_SHOWN = 60
FAR, WIDE, FEW = 5, 10, 10

_Names = ListOf(Text("a text", least=0))
_Numbers = Annotated[Mapping[str, tuple[float, ...]] | None, OrNull(Table(ListOf(Number(), least=1)))]


@dataclass(frozen=True, kw_only=True)
class Identity(Checked):
    """What a run's data means and which samples it has; None is what is not there, or not known.

    Args:
        shape: of a sample
        tokens: how many there are
        objective: what is told of a sample
        classes: how many there are
        names: of the classes, labels or columns that are told, in order
        standards: of each column of numbers that is told, the mean and the deviation that it is standardised by
        counts: training samples of each class, or with each label
        scale: mean and std that make numbers of bytes
        numbers: of each column of numbers, in order, the mean and the deviation that it is standardised by
        texts: of each column of texts, in order, its categories
        vocabulary: the characters, in the order of their tokens
        layout: of the axes in a file
        samples: how many each split has
        levels: mean and std of the inputs of some samples, by feature or channel
        fingerprint: of all labels, of the inputs of some samples, and of all inputs where that is quick
    """

    PATH: ClassVar[str] = "data."

    shape: Annotated[tuple[int, ...] | None, OrNull(ListOf(Number(low=0, integer=True)))] = None
    tokens: OptionalCount = None
    classes: OptionalCount = None
    objective: OptionalText = None
    names: Annotated[tuple[str, ...] | None, OrNull(_Names)] = None
    standards: _Numbers = None
    counts: Annotated[tuple[int, ...] | None, OrNull(ListOf(Number(low=0, integer=True)))] = None
    scale: _Numbers = None
    numbers: _Numbers = None
    texts: Annotated[Mapping[str, tuple[str, ...]] | None, OrNull(Table(_Names))] = None
    vocabulary: OptionalText = None
    layout: OptionalText = None
    samples: Annotated[Mapping[str, int] | None, OrNull(Table(Number(low=0, integer=True)))] = None
    levels: _Numbers = None
    fingerprint: Annotated[Mapping[str, str] | None, OrNull(Table(Text()))] = None

    @property
    def targets(self) -> Targets | None:
        """What is told of a sample; None where that is not recorded."""
        objective = self.objective or ("classification" if self.classes else None)
        outputs = self.classes or len(self.names or ())
        if objective is None or not outputs:
            return None
        samples = (self.samples or {}).get("train", 0)
        return Targets(objective, outputs, self.names, self.standards, self.counts, samples)

    def differs(self, other: Identity) -> str | None:
        """What another dataset does not mean as this one, in one line; None where all that is known is the same."""
        for name, words in MEANING.items():
            old, new = getattr(self, name), getattr(other, name)
            # A record that has classes has these too; None is then that there are none.
            known = old is not None or (name in ("tokens", "names", "scale") and self.classes is not None)
            free = name == "shape" and self.tokens is not None  # the length of a window says nothing of its tokens
            if known and not free and not _same(old, new):
                return f"{words}: {_shown(old)} -> {_shown(new)}"
        return None

    def has_others(self, other: Identity) -> str | None:
        """In what another dataset has not the same samples, in one line; None where nothing known tells them apart."""
        for part, count in (self.samples or {}).items():
            if other.samples and other.samples.get(part) != count:
                return f"{count:,} {part} samples -> {other.samples.get(part, 0):,}"
        ours, theirs = self.fingerprint or {}, other.fingerprint or {}
        different = {what.removeprefix("some_") for what in ours if what in theirs and ours[what] != theirs[what]}
        return f"other {' and '.join(sorted(different))}" if different else None

    def drift(self, other: Identity) -> Iterator[str]:
        """The inputs of another dataset that lie far from those of this one, in a line each."""
        if not (self.levels and other.levels):
            return
        columns = list(self.numbers or ())
        levels = zip(*(of.levels[name] for of in (self, other) for name in ("mean", "std")), strict=False)  # type: ignore[index]
        for place, (mean, std, new_mean, new_std) in enumerate(levels):
            if not std or (self.texts is not None and place >= len(columns)):
                continue
            away, wide = abs(new_mean - mean) / std, new_std / std
            narrow = wide < 1 / WIDE and min((other.samples or {}).values(), default=0) >= FEW
            if away > FAR or wide > WIDE or narrow:
                what = (
                    f"column {columns[place]!r}"
                    if columns
                    else f"input {place}"
                    if len(self.levels["mean"]) > 1
                    else "inputs"
                )
                yield (
                    f"{what}: it lies {away:.3g} of the run's deviations from the run's mean, and is {wide:.3g} times "
                    "as wide: are its units those of the run?"
                )


def _same(old: Any, new: Any) -> bool:
    """Equal, in the same order too."""
    return bool(old == new) and (not isinstance(old, Mapping) or list(old) == list(new))


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        value = tuple(value)
    text = (
        " x ".join(map(str, value)) if isinstance(value, tuple) and value and isinstance(value[0], int) else str(value)
    )
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
