"""A credit desk over a real database and real rules; scores come from a table.

``Scores`` stands in for the scoring session: by person, a score of that log-odds; of anybody
else the sample score. What was asked, and of whom, is written down.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from pathlib import Path
from typing import Any

from consortium.canonical import canonical_json
from consortium.credit.facts import ScoreFacts
from consortium.errors import RiskWeaveError
from consortium.features.schema import Schema
from consortium.scoring.reasons import Reason
from partner_node.credit.application import DeskService
from partner_node.credit.ports import DeskServicePorts
from partner_node.credit.rules import FOLDER, RulesBook
from partner_node.credit.scores import ScoreLeg, ScorePorts
from partner_node.credit.showing import Showing
from partner_node.credit.storage import CreditStore
from partner_node.desk import Score
from partner_node.loan_desk import Question
from partner_node.people import desk_hash
from tests.credit_house import CATALOGUE_FILE, NOW, POLICY_FILE, SCORE, changed
from tests.joint_house import secret

SUBJECT = desk_hash(secret("subjects"))
SINCE = date(2026, 11, 1)
CONSENTS = ("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA")


@dataclass
class Scores:
    """Answers by person."""

    facts: Mapping[str, ScoreFacts] = field(default_factory=dict)
    fails: RiskWeaveError | None = None
    gate: asyncio.Event | None = None
    """If set, no joint answer comes before it is."""
    asked: list[Question] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    """Why the own answer was taken, one for each."""

    async def joint(self, question: Question, _caller: str, _milliseconds: int) -> Score:
        self.asked.append(question)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return _score(self.facts.get(question.person, SCORE))

    def own(self, person: str, _attributes: object, _shown: object, why: str) -> Score:
        self.alone.append(why)
        known = self.facts.get(person, SCORE)
        local = replace(known, band="0", calibration="local", fallback=why, head="", request="")
        return _score(local)

    def ports(self) -> ScorePorts:
        return ScorePorts(
            joint=self.joint,
            alone=self.own,
            schema=lambda: SCORE.schema,
            carried=lambda _: bool(self.asked) and self.asked[-1].shown is not None,
        )


def _score(facts: ScoreFacts) -> Score:
    return Score(
        points=facts.points,
        pd="0.0500",
        eta=facts.eta,
        band=facts.band,
        fallback=facts.fallback,
        calibration=facts.calibration,
        best=900,
        unattributed=0,
        reasons=tuple(
            Reason(one.code, f"{one.code} 说明", f"about {one.code}", one.points, one.source)
            for one in facts.reasons
        ),
        losses=(),
        no_data=(),
        what_if=(),
        model=facts.model,
        head=facts.head,
        policy=facts.manifest,
        request=facts.request,
        interval="",
        answered_at=NOW,
    )


def write_rules(directory: Path, **changes: str) -> Path:
    """The sample policy and catalogue in a node's directory, texts of the policy exchanged."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "policy.toml").write_bytes(changed(POLICY_FILE, changes))
    (folder / "catalogue.toml").write_bytes(CATALOGUE_FILE.read_bytes())
    return folder


def application(name: str = "application-1", **changes: object) -> dict[str, Any]:
    """Who is approved; ``wish``, ``standing`` and other parts may be changed."""
    plain: dict[str, Any] = {
        "application": name,
        "person": "11010519",
        "wish": {
            "product": "instalment_small",
            "purpose": "DURABLES",
            "amount": 6_000_000,
            "currency": "TWD",
            "tenor_months": 12,
        },
        "standing": {
            "adult": True,
            "has_history": True,
            "dpd_now": 0,
            "income": {"credits": [6_000_000] * 3, "latest_on": "2026-11-05"},
        },
        "consents": [consent(purpose) for purpose in CONSENTS],
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(plain.get(key), dict):
            plain[key] = {**plain[key], **value}
        else:
            plain[key] = value
    return plain


def consent(purpose: str, **changes: str) -> dict[str, str]:
    """A consent that is in force."""
    return {
        "purpose": purpose,
        "id": f"c-{purpose.lower()}",
        "given_on": "2026-11-20",
        **changes,
    }


@contextmanager
def desk(
    directory: Path,
    scores: Scores | None = None,
    *,
    now: Callable[[], int] = lambda: NOW,
    keys_s: int = 86_400,
    schema: Schema | None = None,
    showing: Callable[[CreditStore], Showing] | None = None,
) -> Iterator[DeskService]:
    """A desk over the database and the rules of a directory."""
    store = CreditStore(directory / "credit.db")
    service = DeskService(
        DeskServicePorts(
            store=store,
            rules=RulesBook(directory),
            scores=ScoreLeg((scores or Scores()).ports(), UTC),
            subject=lambda person: SUBJECT(person).encode()[:16],
            keyed=desk_hash(secret("credit desk")),
            schema=lambda: schema,
            now=now,
            zone=UTC,
            keys_s=keys_s,
            showing=None if showing is None else showing(store),
        )
    )
    try:
        yield service
    finally:
        service.close()
        store.close()


def decided(service: DeskService, plain: object, key: str = "") -> dict[str, Any]:
    """The parsed answer of one decision."""
    answer = asyncio.run(service.decide(plain, caller="loans", key=key))
    found: dict[str, Any] = json.loads(answer)
    assert canonical_json(found) == answer
    return found
