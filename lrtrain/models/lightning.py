"""A user's own LightningModule, which brings its steps and metrics along."""

from lrtrain.models.custom import custom as lightning

__all__ = ["lightning"]
