"""What several models are made of."""

from torch import Tensor, nn


class Residual(nn.Module):
    """Layers one after another, whose output is added to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs and outputs have one shape."""
        return inputs + self.layers(inputs)  # type: ignore[no-any-return]
