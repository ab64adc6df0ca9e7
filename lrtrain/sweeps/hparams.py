"""TensorBoard's HParams tab of a sweep: a column for what is swept, and none for what all jobs share."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

from lrtrain.parameters.bound import flat
from lrtrain.run_folder.files import write_bytes
from lrtrain.run_folder.sweep_folder import Standing, SweepFolder, SweepPlan
from lrtrain.sweeps.grid import varied

NAME = "events.out.tfevents.0000000000.sweep"
"""One file, which is replaced when a sweep has gone on."""


def write_columns(folder: SweepFolder, plan: SweepPlan, standings: Sequence[Standing]) -> None:
    """Say which of the jobs' settings are columns, with their values, and which metric is looked at."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    configs = [flat(each.summary.config, separator="/") for each in standings if each.summary and each.summary.config]
    monitors = dict.fromkeys(each.summary.monitor for each in standings if each.summary and each.summary.monitor)
    swept = [key.replace(".", "/") for key in varied([job.words for job in plan.jobs])]
    names = [name for key in swept for name in (key, f"{key}/name") if any(name in config for config in configs)]
    kinds = {name: {type(config[name]) for config in configs if config.get(name) is not None} for name in names}
    experiment = api_pb2.Experiment(
        hparam_infos=[api_pb2.HParamInfo(name=name, type=_type(kinds[name])) for name in names],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"best/{monitor}")) for monitor in monitors],
    )
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    said = Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=metadata.create_summary_metadata(content))
    data = io.BytesIO()
    events = RecordWriter(data)
    events.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    events.write(Event(wall_time=time.time(), summary=Summary(value=[said])).SerializeToString())
    write_bytes(folder.path / NAME, data.getvalue())


def _type(kinds: set[type]) -> int:
    """TensorBoard's name for the values of a setting: as the jobs log them, numbers, or else text."""
    if kinds <= {int, float}:
        return 3  # DATA_TYPE_FLOAT64
    return 2 if kinds == {bool} else 1  # DATA_TYPE_BOOL, DATA_TYPE_STRING
