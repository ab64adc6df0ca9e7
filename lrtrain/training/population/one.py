"""One run, whose updates are compiled whole: forward and backward pass, clipping, and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterable

import lightning.pytorch as pl
import torch
from torch import nn

from lrtrain.errors import first_line
from lrtrain.training.loader import Batch, Loader
from lrtrain.training.measures import Measures
from lrtrain.training.module import Supervised
from lrtrain.training.population.crew import member_of, program_of, updates_of
from lrtrain.training.population.stack import Stack
from lrtrain.training.progress_bar import tell
from lrtrain.training.stretch import Stretch, Taken


class Whole:
    """Takes the updates of a run by one compiled function; of a network that it cannot take, the forward pass only.

    The rate is a tensor, so that no change of it compiles anything again.
    """

    def begin(self, trainer: pl.Trainer, stretches: bool) -> bool:
        """Take over the run's weights."""
        if not stretches:
            _compile_forward(trainer)
            return False
        self._member, numbers = member_of(trainer)
        self._done = updates_of(self._member.optimizer)
        try:
            if any(isinstance(layer, nn.RNNBase) for layer in self._member.net.modules()):
                raise ValueError("compiling each step of a recurrent network takes minutes")
            program = program_of(trainer, self._member)
            self._stack = Stack(program, [self._member])
        except Exception as error:  # of many kinds, as whatever torch.func does not support raises them
            tell(trainer, f"only the forward pass is compiled: {first_line(error)}")
            numbers.take_back()
            _compile_forward(trainer)
            return False
        loader = trainer.train_dataloader
        assert isinstance(loader, Loader), "only these are taken places of"
        self._stack.compiled = loader.size(0)
        return True

    @property
    def most(self) -> float:
        """What takes about a second."""
        return self._stack.most

    def read(self, ahead: int) -> list[tuple[float, ...]]:
        """What the optimizer's rule has to know of its groups."""
        rule = self._stack.program.rule
        return [rule.read(group, self._done + ahead) for group in self._member.optimizer.param_groups]

    def take(self, stretch: Stretch) -> Taken:
        """Take the updates."""
        places = torch.split(stretch.places[None], stretch.sizes, dim=1)
        values = torch.tensor(stretch.values, dtype=torch.float64).transpose(1, 2)[..., None]
        measured = self._stack.take(places, values, stretch.measured)
        self._done += len(stretch.sizes)
        losses, norms = ([row[0] for row in rows] for rows in (measured.losses, measured.norms))
        return Taken(losses, norms, {number: sizes[0] for number, sizes in measured.sizes.items()})

    def measure(self, batches: Iterable[Batch], measures: Measures) -> None:
        """Add up what the network says of batches."""
        for inputs, targets in batches:
            measures.update(self._stack.outputs(inputs)[0], targets)


def _compile_forward(trainer: pl.Trainer) -> None:
    """Compile the forward pass; the names in a checkpoint stay as they are."""
    assert isinstance(trainer.lightning_module, Supervised), "only these take plain steps"
    model = trainer.lightning_module.model
    model.forward = torch.compile(model.forward)
