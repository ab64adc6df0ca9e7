"""What decides the rate of a run, without one: how its parts go together, and what is said of it."""

from __future__ import annotations

import pytest
from conftest import settings_of

from lrtrain.plan.curve import plan_run, warn_of
from lrtrain.plan.history import Segment, as_of
from lrtrain.plan.plan import Plan

LENGTH = 10


def plan_of(*words: str) -> Plan:
    return plan_run([Segment(settings_of(*words), LENGTH)])


def warnings_of(*words: str) -> list[str]:
    settings = settings_of(*words)
    return warn_of(settings, plan_run([Segment(settings, LENGTH)]))


def test_least_rate_holds_once_warmed_up() -> None:
    """It bounds the schedule under the warm-up, which begins below it all the same."""
    rates = list(plan_of("scheduler=linear", "lr=1", "epochs=2", "warmup=4st", "min_lr=0.5").rates())
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert rates[4:] == pytest.approx([max(1 - (t - 4) / 16, 0.5) for t in range(4, 21)])
    share = list(plan_of("scheduler=linear", "lr=0.2", "epochs=2", "min_lr=50%").rates())
    assert share == pytest.approx([max(0.2 * (1 - t / 20), 0.1) for t in range(21)])


def test_parts_of_a_curve_go_together_in_one_order() -> None:
    """The horizon and the stretch move the clock, the hold is above them, and the cooldown begins where these are."""
    words: tuple[str, ...] = ("scheduler=linear", "lr=1", "epochs=4", "horizon=2ep", "hold=1ep", "final_cooldown=1ep")
    rates = list(plan_of(*words).rates())
    assert rates == pytest.approx([1.0] * 10 + [0.5] * 10 + [0.0] * 21)
    words = ("scheduler=step", "gamma=0.5", "every=2ep", "lr=1", "epochs=2", "stretch=4ep", "final_cooldown=5st")
    rates = list(plan_of(*words).rates())
    assert rates == pytest.approx([1.0] * 10 + [0.5] * 5 + [0.5 * (1 - t / 5) for t in range(6)])


def test_warm_up_is_in_the_sentence_of_a_run_that_began_with_it() -> None:
    first = settings_of("scheduler=cosine", "warmup=2ep", "epochs=5")
    assert "after a warm-up of 20 updates to 0.1" in plan_run([Segment(first, LENGTH)]).sentence()
    for policy, words in (("append", ("warmup=2ep", "epochs=9")), ("keep", ("warmup=2ep", "epochs=6"))):
        later = Segment(settings_of("scheduler=cosine", *words), LENGTH, policy, 30)
        resumed = plan_run([Segment(first, LENGTH), later])
        assert "warm-up" not in resumed.sentence(), "where it is, no number of updates says"


def test_each_of_several_plans_has_its_own_rate() -> None:
    def began(lr: float, policy: str | None, step: int) -> Segment:
        return Segment(settings_of("scheduler=constant", f"lr={lr}", "epochs=3"), LENGTH, policy, step)

    history = [began(0.1, None, 0), began(0.05, "append", 10), began(0.4, "switch", 20)]
    assert list(plan_run(history).rates()) == pytest.approx([0.1] * 10 + [0.05] * 10 + [0.4] * 11)


def test_a_part_of_the_run_that_is_frozen_is_that_of_the_first_plan() -> None:
    """A longer plan does not freeze again what has been trained."""
    frozen = ("scheduler=constant", "groups={1.*:{lr_mult:0.5,frozen:50%}}")
    first = Segment(settings_of(*frozen, "epochs=2"), LENGTH)
    later = Segment(settings_of(*frozen, "epochs=6"), LENGTH, "keep", 15)
    [group] = plan_run([first, later]).groups.values()
    assert group.lr_mult == 0.5
    assert [group.schedule(later.horizon.at(step)) for step in (0, 9, 10, 15, 30, 59)] == [0, 0, 1, 1, 1, 1]


def test_plans_are_as_of_the_checkpoint() -> None:
    """What was decided on after it is decided on there."""
    segments = [Segment(settings_of(f"epochs={5 + at}"), LENGTH, None, at) for at in (0, 4, 8, 12)]
    assert [segment.step for segment in as_of(segments, 8)] == [0, 4, 8, 8]
    assert [segment.step for segment in as_of(segments, 2)] == [0, 2, 2, 2]
    assert [segment.settings for segment in as_of(segments, 2)] == [segment.settings for segment in segments]


def test_warns_of_an_early_stop_that_comes_too_early() -> None:
    plateau = ("scheduler=plateau", "patience=3")
    said = ["early_stop=3 ends the run before plateau with patience=3 can act"]
    assert warnings_of(*plateau, "early_stop=3") == said
    assert warnings_of(*plateau, "early_stop=4") == warnings_of(*plateau) == []
    rising = ("scheduler=constant", "warmup=6ep")
    assert warnings_of(*rising, "early_stop=5") == [
        "early_stop=5 can end the run while the rate still rises, until epoch 5.9"
    ]
    assert warnings_of(*rising, "early_stop=6") == warnings_of(*rising) == []


@pytest.mark.parametrize(
    ("words", "rate", "said"),
    [
        (("lr_scale=linear", "batch_size=512"), 0.2, "0.1 for a batch of 256 is 0.2 for 512 (linear)"),
        (
            ("lr_scale=sqrt", "batch_size=32", "trainer.accumulate_grad_batches=2", "lr_for_batch=16"),
            0.2,
            "0.1 for a batch of 16 is 0.2 for 64 (sqrt)",
        ),
        (
            ("lr_scale=linear", "batch_size=64", "trainer=ddp", "trainer.devices=2"),
            0.05,
            "0.1 for a batch of 256 is 0.05 for 128 (linear)",
        ),
        (("batch_size=512",), 0.1, ""),
    ],
)
def test_a_rate_for_another_batch_is_scaled_and_the_plan_says_so(
    words: tuple[str, ...], rate: float, said: str
) -> None:
    settings = settings_of("scheduler=linear", "min_lr=0.01", "lr=0.1", "epochs=100st", *words)
    plan = plan_run([Segment(settings, 10)])
    assert plan.rate(0) == pytest.approx(rate)
    assert plan.rate(100) == pytest.approx(0.01)  # min_lr is a rate of this run, not to be scaled
    assert plan.sentence().endswith(said)
    assert ("for a batch" in plan.sentence()) == bool(said)
