"""The verdict at the end of a sweep."""

from __future__ import annotations

from lrtrain.errors import RequestError
from lrtrain.evidence.ranks import rank
from lrtrain.records.comparisons import KINDS, Question
from lrtrain.report.comparison import print_comparisons, write_comparisons
from lrtrain.report.page import REPORT, write_page
from lrtrain.run_folder.sweep_folder import SweepFolder, SweepPlan
from lrtrain.sweeps.grid import varied
from lrtrain.sweeps.table import CHOOSES
from lrtrain.tasks.compare import as_command, compare_runs


def compare_jobs(folder: SweepFolder, plan: SweepPlan) -> None:
    """Write and print the comparison of the strategies; of a grid with only one, of what else is swept."""
    is_search = any(word.startswith("search=") for word in plan.command)
    swept = [{"optimizer": "optimizer.name"}.get(key, key) for key in varied([job.words for job in plan.jobs])]
    others = [key for key in swept if key not in ("seed", *(kind.removesuffix(".name") for kind in KINDS))]
    try:
        by = ["scheduler"] if {*swept} & {*CHOOSES} or not others or is_search else others
        records, compared = compare_runs([folder.path], Question(by=by))
    except RequestError as error:
        print(f"no comparison: {error}")
        return
    found = [each.found for each in compared]
    ranks = rank(found)
    write_comparisons(found, ranks, folder.path)
    write_page(compared, ranks, records, folder.path, [as_command(["-m", *plan.command])])
    if any(len(each.strategies) > 1 for each in found):
        print_comparisons(found, ranks, tables=any(each.strategies[0].verdict for each in found))
    elif len(found) > 1:
        kinds = [*found[0].of]
        which = f"by=[{','.join(kinds)}]"
        print(f"no comparison: runs of several {', '.join(kinds)} stand apart; task=compare runs={folder.path} {which}")
    print(folder.path / REPORT)
