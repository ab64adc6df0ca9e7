"""A wrong request ends at once, with one line that says what to write, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import CommandLine, python, run_line

REFUSED = 2

WATCHED = f"""
import contextlib, io, json, os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import conftest
from lrtrain.cli.main import main

place = Path.cwd()
for number, words in enumerate(json.loads(sys.stdin.read())):
    (place / str(number)).mkdir()
    os.chdir(place / str(number))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words.split())
    heavy = sorted({{"torch", "lightning", "torchmetrics", "sklearn", "matplotlib"}} & set(sys.modules))
    print(json.dumps([code, out.getvalue(), err.getvalue(), heavy, os.listdir()]))
"""
"""One command line after the other, each in its own folder: what comes of it, and what it has imported and left."""

WRONG = {
    "decay below 0": ("scheduler=inverse_time decay=-1", "decay must be a number >= 0, got -1"),
    "decay of another strategy": ("decay=-1", "decay belongs to scheduler=...inverse_time"),
    "short key of another strategy": ("scheduler=step decay=0.1", "decay belongs to scheduler=...inverse_time"),
    "keys of the strategy in use": ("scheduler=step decay=0.1", "takes gamma, every"),
    "gamma 0": ("scheduler=step gamma=0", "gamma must be a number > 0, got 0"),
    "gamma text": ("scheduler=exponential gamma=fast", "gamma must be a number > 0, got 'fast'"),
    "factor 1": ("scheduler=plateau factor=1", "factor must be a number in (0, 1), got 1"),
    "patience below 0": ("scheduler=plateau patience=-1", "patience must be a whole number >= 0, got -1"),
    "clock": ("scheduler=inverse_time per=minute", "per must be epoch or step, got 'minute'"),
    "milestones falling": ("scheduler=multistep milestones=[4ep,2ep]", "rising order"),
    "epochs 0": (
        "epochs=0",
        "epochs must be a whole number of epochs >= 1 such as 20, or of updates such as 300st, got 0",
    ),
    "epochs a fraction": ("epochs=1.5", "epochs must be a whole number of epochs >= 1 such as 20...got 1.5"),
    "lr text": ("lr=abc", "lr must be a number > 0, got 'abc'"),
    "lr not a number": ("lr=nan", "lr must be a number > 0, got nan"),
    "lr infinite": ("lr=inf", "lr must be a number > 0, got inf"),
    "lr empty": ("lr=", "lr must be a number > 0"),
    "seed below 0": ("seed=-1", "seed must be a whole number"),
    "monitor": ("monitor=val_los", "monitor=val_los: did you mean val_loss?; objective.metrics=[NAME] adds others"),
    "unit": ("warmup=5parsec", "5ep, 300st or 10%"),
    "warm-up longer than the run": ("warmup=30ep epochs=20", "warmup=30ep"),
    "min_lr above lr": ("min_lr=1", "min_lr=1 is above lr=0.1"),
    "min_lr share above 1": ("min_lr=101%", "min_lr=101% is above lr=0.1"),
    "groups text": ("groups=abc", "groups must be a table"),
    "groups pattern": ("groups={*.bias:0.1}", "is not a regular expression"),
    "groups with an unknown setting": ("groups={a:{scheduler:cosine,warmup:3}}", "groups: 'a'"),
    "hyperparameters text": ("hyperparameters=abc", "hyperparameters must be a table"),
    "a part that is no schedule": ("scheduler=join parts=[{scheduler:[1]}]", "is a word"),
    "ramp": ("warmup_shape=bogus", "warmup_shape must be linear or cosine"),
    "cooldown shape": ("final_cooldown_shape=bogus", "final_cooldown_shape must be linear or cosine"),
    "no validation": ("trainer.check_val_every_n_epoch=5 epochs=2", "no validation would run"),
    "phases that overlap": ("scheduler=wsd warmup=50% decay_length=60%", "warmup=50% and decay_length=60%"),
    "three phases": ("scheduler=one_cycle three_phase=true pct_start=0.6", "pct_start in (0, 0.5]"),
    "policy without a run": ("resume_plan=keep", "give resume= too"),
    "function that is none": ("scheduler=custom function=math:sqrt", "function=math:sqrt fails: TypeError"),
    "model in no place": ("model=custom", "model.function must be a place such as my_module:MyClass, got None"),
    "model in a module that is not there": ("model=custom model.function=nowhere:Net", "there is no module nowhere"),
    "kernels": ("model=cnn model.kernels=[0]", "model.kernels must be a whole number >= 1, got 0"),
    "preview of no updates": ("task=preview steps_per_epoch=abc", "steps_per_epoch must be a whole number"),
    "overlay of no list": ("task=preview overlay=cosine", "overlay must be a list"),
    "group name": ("modle=linear", "did you mean model?"),
    "near match": ("decy=0.01", "did you mean decay"),
    "near match in a group": ("optimizer.momentu=0.5", "did you mean optimizer.momentum?"),
    "momentum 1": ("optimizer.momentum=1", "optimizer.momentum must be a number in [0, 1)"),
    "type in a group": ("optimizer.nesterov=7", "optimizer.nesterov must be true or false, got 7"),
    "name of a strategy": ("scheduler=cosin", "did you mean cosine?"),
    "name of a model": ("model=mpl", "did you mean mlp?"),
    "another tool's name": ("max_epochs=3", "write epochs="),
    "another tool's place": ("scheduler.gamma=0.5", "write gamma="),
    "new key": ("+foo=1", "there is no key foo"),
    "new key of a model": ("+model.foo=1", "there is no key model.foo"),
    "share as the length of the run": ("epochs=10%", "epochs must be a whole number of epochs"),
    "length in another tool's name": ("max_steps=100", "write epochs=300st"),
    "key taken away": ("~lr", "lr is missing"),
    "several values without -m": ("scheduler=step,cosine", "add -m"),
    "no key": ("=3", "key"),
    "no value": ("foo", "foo"),
    "sweep, all jobs": ("-m lr=-1,-2", "lr must be a number > 0, got -1"),
    "sweep, one job": ("-m scheduler=cosine gamma=0.5", "gamma belongs to scheduler="),
}


def test_wrong_requests(tmp_path: Path) -> None:
    asked = json.dumps([arguments for arguments, _ in WRONG.values()])
    done = python("-c", WATCHED, cwd=tmp_path, said=asked)
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    for (what, (_, fragment)), (code, out, err, heavy, left) in zip(WRONG.items(), found, strict=True):
        assert (code, out) == (REFUSED, ""), f"{what}: {err}"
        lines = err.splitlines()
        assert len(lines) == 1, f"{what}: {err}"
        assert lines[0].startswith("lrtrain: "), what
        assert all(part in lines[0] for part in fragment.split("...")), f"{what}: {err}"
        assert heavy == [], f"{what}: imported before the request was known to be good"
        assert left == [], f"{what}: left behind"


def test_trainer_argument_that_lightning_does_not_have(command_line: CommandLine, tmp_path: Path) -> None:
    code, _, err = command_line("+trainer.limit_trian_batches=2")
    assert code == REFUSED
    assert "limit_trian_batches" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_traceback_when_asked_for(tmp_path: Path) -> None:
    for wrong in ("lr=abc", "scheduler=cosin"):
        code, _, err = run_line(tmp_path, wrong, trace="1")
        assert code == REFUSED
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("lrtrain: ")
