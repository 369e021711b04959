"""A plan file that breaks a rule is refused before a run begins, in words."""

import pytest

from consortium.errors import ConfigurationError
from tests.simulator import PLAN, Consortium


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[plan]", "plan = 3\n[other]", "plan: unknown table 'other'"),
        ("\n[plan]", "shares = 1\n[plan]", r"plan: \[shares\] is no table"),
        ("\n[plan]", "optimizer = 1\n[plan]", r"plan: \[optimizer\] is no table"),
        ("\n[plan]", "local = 1\n[plan]", r"plan: \[local\] is no table"),
        (PLAN, "plan = 3", r"plan: \[plan\] is no table"),
        (PLAN, "block = [1]", r"plan: \[\[block\]\] is no table"),
        ("\n[plan]", '[optimizer]\nkind = "sgd"\n[plan]', "optimizer.kind: 'sgd'"),
        ("\n[plan]", '[optimizer]\nlearning_rate = "abc"\n[plan]', "learning_rate: 'abc'"),
        ("\n[plan]", '[optimizer]\nbeta2 = "1"\n[plan]', "beta2: 1 would never forget"),
        ('name = "platforms"', 'name = "banks"', "plan: blocks need names of their own"),
        ("\n[plan]", '[optimizer]\ntail = "2"\n[plan]', "tail"),
    ],
)
def test_plan_file_is_read_strictly(old: str, new: str, told: str) -> None:
    assert old in PLAN
    with pytest.raises(ConfigurationError, match=told):
        Consortium(plan=PLAN.replace(old, new, 1))
