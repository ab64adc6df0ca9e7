"""Composes a configuration from the words of a command: the only place that knows Hydra."""

from __future__ import annotations

import copy
import itertools
import math
import re
import sys
import threading
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lrtrain.cli.hints import explain_choice, explain_flag, explain_key, explain_word
from lrtrain.cli.words import as_word, key_of
from lrtrain.configs import config_dir
from lrtrain.errors import RequestError, first_line
from lrtrain.sweeps.search import Axis

SEARCH = "hydra.searchpath"
HONOURED = ("hydra.run.dir", "hydra.sweep.dir", SEARCH)
"""Hydra's own keys that mean something here: it composes, and lrtrain runs."""

SEVERAL = ("logger", "experiment")
"""The groups of which several may be chosen at once: what each says has a place of its own."""

INSTEAD = {
    "hydra.mode": "write -m",
    "hydra/launcher": "write -m and jobs=N, with workers=slurm or workers=ray beyond this machine",
    "hydra/sweeper": "write -m, with search=tpe trials=N where values are to be proposed",
}
"""What to write in the place of Hydra's own keys."""

_UNREAD = [f"~hydra/{group}" for group in ("env", "help", "hydra_help", "hydra_logging", "job_logging")]
_UNREAD += ["~hydra/launcher", "~hydra/sweeper"]
"""Leaves out what Hydra itself would run by, and nothing here reads: a quarter of the time of composing."""

_SETTING = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)

_DEPENDENT = re.compile(r"\$\{(?!now:|scheduler\}|name\}|lrtrain\.first:)")
"""An interpolation whose value may depend on a plain setting; what a time, a choice or the name decides does not."""

OmegaConf.register_new_resolver(
    "lrtrain.first", lambda *values: next(value for value in values if value is not None), replace=True
)

FLAGS = ("--help", "--version", "--multirun", "--cfg", "--resolve", "--package", "--info", "--config-dir")
_LOCK = threading.RLock()


class Composed(NamedTuple):
    """A configuration.

    Attributes:
        values: Plain values, interpolations resolved.
        run_dir: The folder of a single run.
        sweep_dir: That of a sweep.
    """

    values: dict[str, Any]
    run_dir: Path
    sweep_dir: Path


class Composer:
    """Composes configurations while it is open.

    Args:
        folder: Of the user's own configurations, searched after ours.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = [f"file://{Path(folder).resolve()}"] if folder else []
        self._parsed: dict[str, Override] = {}
        self._bases: dict[tuple[str, ...], Composed | None] = {}

    def __enter__(self) -> Composer:
        _LOCK.acquire()  # Hydra's state is one for the whole process
        self._others = GlobalHydra.instance().hydra  # of a program that uses Hydra itself
        GlobalHydra.instance().clear()
        self._open = initialize_config_dir(str(config_dir()), version_base="1.3")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
        GlobalHydra.instance().hydra = self._others
        _LOCK.release()

    def compose(self, words: Sequence[str]) -> Composed:
        """The configuration of one job.

        Raises:
            RequestError: The words cannot be composed; says why, and what to write.
        """
        self._check_hydra(words)
        try:
            return self._of_base(words) or self._composed(words)[0]
        except Exception as error:  # Hydra raises whatever its parsing of the text runs into
            known = not isinstance(error, OmegaConfBaseException)
            raise RequestError((known and self._explain(words)) or first_line(error)) from error

    def expand(self, words: Sequence[str]) -> list[list[str]]:
        """The words of each job of a sweep, as Hydra's own sweeper has them."""
        return [list(job) for job in itertools.product(*self.axes(words).values())]

    def axes(self, words: Sequence[str]) -> dict[str, list[str]]:
        """For each key its words, one for each of the values; of several words about a key the last one counts."""
        found = {}
        for override in self._parse(words):
            key = override.get_key_element()
            if override.is_discrete_sweep():
                found[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            elif override.is_sweep_override():
                raise RequestError(
                    f"{override.input_line} is for a search: add search=tpe trials=N, or list some values"
                )
            else:
                found[key] = [f"{key}={override.get_value_element_as_str()}"]
        return found

    def searched(self, words: Sequence[str]) -> dict[str, Axis]:
        """What a search may give each key that has several values."""
        return {
            override.get_key_element(): _axis(override)
            for override in self._parse(words)
            if override.is_sweep_override()
        }

    def is_choice(self, key: str) -> bool:
        """Whether a key chooses a file of a group."""
        return key in self._groups

    def owned(self, words: Sequence[str]) -> list[str]:
        """The words whose keys the choices among them bring along, and all that choose or add."""
        plain = self._plain(words)
        try:
            base = self._base(tuple(word for word in words if word not in plain))
        except Exception:  # as above; it is told of when the job is composed
            return list(words)
        return [word for word in words if word not in plain or not base or _has(base.values, plain[word].key_or_group)]

    def values_of(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of words, as Hydra reads them."""
        return {override.key_or_group: override.value() for override in self._parse(words)}

    def _of_base(self, words: Sequence[str]) -> Composed | None:
        """What `words` compose to, from what their choices do: plain values only change a value there.

        None where something else may depend on those, or their keys are not there.
        """
        plain = self._plain(words)
        base = self._base(tuple(word for word in words if word not in plain))
        if base is None:
            return None
        values = copy.deepcopy(base.values)
        for override in plain.values():
            *path, name = override.key_or_group.split(".")
            place: Any = values
            for part in path:
                place = place.get(part) if isinstance(place, dict) else None
            if not isinstance(place, dict) or name not in place or isinstance(place[name], dict):
                return None
            place[name] = override.value()
        return base._replace(values=values)

    def _base(self, words: tuple[str, ...]) -> Composed | None:
        """What choices compose to; None where an interpolation may depend on more than these."""
        if words not in self._bases:
            composed, depends = self._composed(words)
            self._bases[words] = None if depends else composed
        return self._bases[words]

    def _composed(self, words: Sequence[str]) -> tuple[Composed, bool]:
        """What Hydra composes, and whether an interpolation in it may depend on a plain setting."""
        found = compose("config", [*self.with_search(words), *_UNREAD], return_hydra_config=True)
        place = Path(str(found.hydra.run.dir)).absolute(), Path(str(found.hydra.sweep.dir)).absolute()
        with open_dict(found):
            hydra = found.pop("hydra")
        raw = [OmegaConf.to_container(part, resolve=False) for part in (found, hydra.run, hydra.sweep)]
        written = raw[0], raw[1]["dir"], raw[2]["dir"]  # type: ignore[index, call-overload]
        values = OmegaConf.to_container(found, resolve=True, throw_on_missing=True)
        assert isinstance(values, dict)
        plain = {str(key): value for key, value in values.items()}
        return Composed(plain, *place), bool(_DEPENDENT.search(str(written)))

    def _plain(self, words: Sequence[str]) -> dict[str, Override]:
        """The words that set a key to a plain value, and nothing else is said about."""
        parsed = dict(zip(words, self._parse(words), strict=True))
        said = [override.key_or_group for override in self._parse(words)]
        keys = [key for key in said if key not in self._groups]  # a choice comes before all that is set
        return {
            word: override
            for word, override in parsed.items()
            if override.type is OverrideType.CHANGE
            and override.package is None
            and override.key_or_group not in (*self._groups, "name")  # which folders are called by
            and not re.match("hydra[./]", override.key_or_group)
            and sum(_overlap(override.key_or_group, key) for key in keys) == 1  # by itself
            and _is_plain(override.value())
        }

    def folders(self, words: Sequence[str]) -> list[Path]:
        """Where the user's own configurations are."""
        return [Path(place.removeprefix("file://")) for place in self._search(words) if not place.startswith("pkg://")]

    def _search(self, words: Sequence[str]) -> list[str]:
        asked = [override.value() for override in self._parse(_searches(words))]
        return [*self._folder, *(str(place) for place in (asked[-1] if asked and isinstance(asked[-1], list) else []))]

    def with_search(self, words: Sequence[str]) -> list[str]:
        """The words with one search path for all folders."""
        places = self._search(words)
        if not self._folder:
            return list(words)
        return [*(word for word in words if word not in _searches(words)), f"{SEARCH}={as_word(places)}"]

    def _check_hydra(self, words: Sequence[str]) -> None:
        for override in self._parse(words):
            key = override.key_or_group
            if override.is_sweep_override():
                raise RequestError(f"{override.input_line} holds several values; add -m to run one job for each")
            value = override.value()
            if key in self._groups and key not in SEVERAL and isinstance(value, list):
                listed = ",".join(map(str, value))
                raise RequestError(f"{override.input_line}: one at a time; -m {key}={listed} runs a job for each")
            if instead := INSTEAD.get(key.partition("@")[0]):
                raise RequestError(f"{override.input_line}: lrtrain runs its sweeps itself: {instead}")
            if key.partition(".")[0].partition("/")[0] == "hydra" and key not in HONOURED:
                raise RequestError(f"{key} has no effect here: of Hydra's own keys there are {', '.join(HONOURED)}")

    def _parse(self, words: Sequence[str]) -> list[Override]:
        for word in (word for word in words if word not in self._parsed):
            try:
                [self._parsed[word]] = self._parser.parse_overrides([word])
            except Exception as error:  # Hydra raises whatever its parsing of the text runs into
                raise RequestError(explain_word(word)) from error
        return [self._parsed[word] for word in words]

    @cached_property
    def _parser(self) -> OverridesParser:
        return OverridesParser.create(config_loader=self._loader)

    @cached_property
    def _groups(self) -> list[str]:
        return list(self._loader.list_groups(""))

    @property
    def _loader(self) -> Any:
        return GlobalHydra.instance().config_loader()

    def _explain(self, words: Sequence[str]) -> str | None:
        """What is wrong with words that Hydra cannot compose, or None where we know no better than Hydra."""
        groups, chosen, folders = self._groups, {}, self.folders(words)
        for override in self._parse(words):
            key = override.key_or_group
            if key in groups and not override.is_delete():
                several, options = override.value(), [*self._loader.get_group_options(key)]
                value = override.get_value_element_as_str()
                options += [path.stem for folder in folders for path in sorted(folder.glob(f"{key}/*.yaml"))]
                unknown = [name for name in (several if isinstance(several, list) else [value]) if name not in options]
                if unknown and len(folders) == len(self._search(words)):
                    return explain_choice(key, str(unknown[0]), options)
                chosen[key] = value
        known = self._known([*(f"{group}={choice}" for group, choice in chosen.items()), *_searches(words)])
        for override in self._parse(words):
            key = override.key_or_group
            if key in groups or key.startswith("hydra") or override.type not in _SETTING:
                continue
            if _has(known, key) and override.type is OverrideType.ADD:
                return f"there is a {key} already: write it without +"
            if not _has(known, key) and (override.type is OverrideType.CHANGE or not key.startswith("trainer.")):
                return explain_key(key, known)
        return None

    def _known(self, chosen: Sequence[str]) -> dict[str, Any]:
        """The configuration of the same choices with nothing else said, to tell what keys there are."""
        try:
            found = compose("config", [*self.with_search(chosen), *_UNREAD])
            plain = OmegaConf.to_container(found, resolve=False)
        except Exception as error:  # as above
            raise RequestError(first_line(error)) from error
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}


def parse_arguments(arguments: Sequence[str]) -> Namespace:
    """The flags of the command line, which are Hydra's; raises RequestError."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        raise RequestError(explain_flag(unknown[0], FLAGS) if unknown else f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(arguments))


def show_hydra(arguments: Sequence[str]) -> None:
    """Let Hydra print what its own flags ask for, such as ``--cfg job``; no job is run.

    Raises:
        RequestError: Hydra cannot show that; it says itself why.
    """

    def nothing(config: DictConfig) -> None:
        raise AssertionError("no flag was given that prints something")

    # Where Hydra reads them; it completes the words of the program of this name, and not those of python.
    before, sys.argv = sys.argv, ["lrtrain", *arguments]
    try:
        hydra.main(config_path=str(config_dir()), config_name="config", version_base="1.3")(nothing)()
    except SystemExit as error:
        if error.code:
            raise RequestError("Hydra cannot show that") from error
    finally:
        sys.argv = before


def _axis(override: Override) -> Axis:
    """The values of a key that has several, numbers in their order; raises RequestError."""
    found = override.value()
    log = "log" in getattr(found, "tags", ())
    if isinstance(found, IntervalSweep):
        low, high = found.start, found.end
        if low is None or high is None or not -math.inf < low <= high < math.inf or (log and low <= 0):
            raise RequestError(f"{override.input_line}: from the lower to the higher number, for log above 0")
        return Axis(low=low, high=high, log=log, integer=isinstance(low, int) and isinstance(high, int))
    values = list(dict.fromkeys(override.sweep_string_iterator()))
    if log:
        raise RequestError(f"{override.input_line}: log is for an interval(), or int(interval()) of whole numbers")
    with suppress(ValueError):
        return Axis(sorted(values, key=float), ordered=True)
    return Axis(values)


def _searches(words: Sequence[str]) -> list[str]:
    return [word for word in words if key_of(word) == SEARCH]


def _has(values: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, or a list of them, and stands for itself."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and not _is_special(value))


def _is_special(text: str) -> bool:
    return "${" in text or "\\" in text or text == "???"


def _overlap(one: str, other: str) -> bool:
    """Whether two keys are the same, or one a part of the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
