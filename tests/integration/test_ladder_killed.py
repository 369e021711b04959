"""A desk that is killed in the midst of steps: what was told is kept, and nothing twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from consortium.credit.ladder import PAYMENTS, RUNG_PERCENT, State, Step
from consortium.credit.terms import add_months
from tests.credit_house import NOW
from tests.unit.test_credit_path_desk import OFFERED, path, ready

LATER = NOW + 800 * 86_400
DAYS = [add_months(OFFERED, month) for month in range(1, PAYMENTS * len(RUNG_PERCENT) + 1)]

_CHILD = """
import sys
from datetime import date
from pathlib import Path
from consortium.credit.ladder import Step
from tests.integration.test_ladder_killed import DAYS, LATER
from tests.unit.test_credit_path_desk import path
with path(Path(sys.argv[1]), [LATER]) as made:
    for day in DAYS:
        made.step("line-1", Step.PAID_ON_TIME, on=day)
        print(day, flush=True)
"""


def test_killed_process_loses_no_step_and_counts_none_twice(tmp_path: Path) -> None:
    with path(tmp_path, [NOW]) as made:
        ready(tmp_path, made)
    told: list[str] = []
    for stop in (1, 7):
        child = subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        told = [child.stdout.readline().strip() for _ in range(stop)]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with path(tmp_path, [LATER]) as made:
            kept = [
                on.isoformat() for name, on in made.ladder("line-1").steps if "PAID" in name
            ]
        assert kept[: len(told)] == told
        assert kept == [day.isoformat() for day in DAYS[: len(kept)]]
    with path(tmp_path, [LATER]) as made:
        for day in DAYS:
            found = made.step("line-1", Step.PAID_ON_TIME, on=day)
    assert found.ladder.state is State.GRADUATED
    assert len(found.steps) == len(DAYS) + 2
