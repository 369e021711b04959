"""A consortium whose two banks study their customers: joint rows with a planted signal."""

from dataclasses import replace

import numpy as np

from consortium.ids import Digest, PartnerId
from consortium.manifest import Delivery, Manifest, ScoringPolicy
from consortium.plan import ModelKind, TrainingPlan
from partner_node.head_sums import HeadSums
from partner_node.local_sums import Sums
from partner_node.study import JointRows
from tests.simulator import Consortium, Node

BASE = Digest("ba" * 32)
FAMILIES = ("repayment", "billing")
UNIT = 1 << 32

PLAN = f"""
[plan]
model = "head"
base = "{BASE}"
start = "-1.0"
rounds = 8
clip = "1.25"
epsilon = "3"
holdout_salt = "test"

[optimizer]
learning_rate = "0.1"

[[block]]
name = "head"
families = ["repayment", "billing"]
holders = ["bank_a", "bank_b"]
normaliser = 3000
"""


def joint_rows(seed: int, rows: int, *, base: Digest = BASE) -> JointRows:
    """Persons of a bank; half of them are at a platform, too, and slopes are not 1."""
    rng = np.random.default_rng(seed)  # noqa: TID251 - the simulator's generator
    both = rng.random(rows) < 0.5
    logits = rng.normal(0, 1, (rows, 2)) * np.stack([np.ones(rows), both], axis=1)
    eta = np.where(both, -1.0, -0.6) + logits @ np.array([0.9, 0.4])
    return JointRows(
        base=base,
        families=FAMILIES,
        logits=np.rint(logits * UNIT).astype(np.int64),
        counts=np.stack([np.ones(rows), both], axis=1).astype(np.int64),
        own=np.rint(logits * np.array([1, 0]) * UNIT).astype(np.int64),
        partners=1 + both.astype(np.int64),
        labels=(rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(np.uint8),
        holdout=np.arange(rows) % 5 == 0,
    )


def with_scoring(manifest: Manifest) -> Manifest:
    """The simulator's manifest as the banks and platforms sign it for joint scores."""
    kinds = tuple(kind.value for kind in ModelKind)
    policy = replace(
        manifest.policy,
        model_kinds=kinds,
        scoring=ScoringPolicy(delivery=Delivery.JOINT),
        family_m=(("repayment", 1),),
    )
    return replace(manifest, policy=policy)


class StudyHouse(Consortium):
    """The simulator with a head's plan."""

    def __init__(self, *, plan: str = PLAN, rows: int = 2000) -> None:
        banks = (PartnerId("bank_a"), PartnerId("bank_b"))
        self.studied: list[PartnerId] = []
        self.joint = {name: joint_rows(seed, rows) for seed, name in enumerate(banks)}
        super().__init__(plan=plan, rows=rows)

    def _manifest(self) -> Manifest:
        return with_scoring(super()._manifest())

    def start(self, node: Node, number: int) -> None:
        super().start(node, number)
        assert node.session is not None
        node.session._open_sums = lambda plan: self._sums(plan, node)

    def _sums(self, plan: TrainingPlan, node: Node) -> Sums:
        def rows(base: Digest) -> JointRows:
            assert base == BASE
            self.studied.append(node.member)
            return self.joint[node.member]

        return HeadSums(plan, node.member, joint_rows=rows)
