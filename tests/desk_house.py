"""A node's desk over a toy session: real core, doors, sockets and certificates.

The session stands in for the protocol: it answers from a table of what three partners know,
by the same formula, and can be told to fall back. Whoever it does not know is band 0.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from consortium.errors import DataError, PersonError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Purpose
from consortium.scoring.scorecard import UNIT_BITS
from partner_node.answers import Applicant, FamilyPart, JointAnswer
from partner_node.config import Config, DeskDoors
from partner_node.desk import Line, Served
from partner_node.desk_serving import open_doors
from partner_node.loan_desk import DeskPorts, DeskStatus, LoanDesk
from partner_node.people import desk_hash
from tests.joint_house import secret
from tests.reasons_house import FAMILIES, LABELS, LATE, TABLES, own_logit

NOW = 1_800_000_000
MODEL, POLICY = Digest("a" * 64), Digest("c" * 64)
LINE = Line(-2 * LATE, dict.fromkeys(FAMILIES, LATE))
SERVED = Served(
    labels=LABELS,
    tables=TABLES,
    strata=(Line(-2 * LATE, {}), LINE, LINE, LINE),
    local=Line(-LATE, dict.fromkeys(FAMILIES, LATE)),
    local_tables=TABLES,
    step=5,
)
CODES = {"late": 4, "worst": 2, "months": 1}
"""What the partner knows of every customer."""


@dataclass
class Session:
    """The scoring session's half of the asker, as far as a desk sees it."""

    fallback: str = ""
    asked: list[Sequence[Applicant]] = field(default_factory=list)
    inquirers: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """If set, nobody is answered before it is."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once somebody asks."""

    async def ask(
        self,
        applicants: Sequence[Applicant],
        *,
        purpose: Purpose,
        deadline_ms: int,
        inquirer: str,
    ) -> list[JointAnswer]:
        assert purpose is Purpose.JOINT_SCORE
        assert deadline_ms > 0
        self.asked.append(applicants)
        self.inquirers.append(inquirer)
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        number = len(self.asked)
        return [self.answer(one, number) for one in applicants]

    def answer(self, applicant: Applicant, number: int = 0) -> JointAnswer:
        codes = CODES if applicant.attributes is None else codes_of(applicant.attributes)
        own = own_logit(codes, "repayment")
        context = Digest(f"{number:064x}")
        if self.fallback:
            parts = (FamilyPart(name="repayment", own=own, total=own, holders=1),)
            return JointAnswer(
                band="0",
                eta=eta_of(SERVED.local, parts),
                stratum=0,
                calibration="local",
                families=parts,
                codes=codes,
                model=MODEL,
                head=None,
                policy=POLICY,
                context=None,
                fallback=self.fallback,
            )
        parts = (
            FamilyPart(name="repayment", own=own, total=own + LATE, holders=2),
            FamilyPart(name="billing", own=0, total=LATE // 2, holders=1),
            FamilyPart(name="payments", own=0, total=0, holders=0),
        )
        return JointAnswer(
            band="3+",
            eta=eta_of(LINE, parts),
            stratum=2,
            calibration="none",
            families=parts,
            codes=codes,
            model=MODEL,
            head=None,
            policy=POLICY,
            context=context,
        )


def codes_of(attributes: Mapping[str, float | str | None]) -> dict[str, int]:
    """Bins of the own family's attributes, for integers with edges 10, 20, 30."""
    known = {}
    for name, value in attributes.items():
        known[name] = 0 if not isinstance(value, float) else min(4, 1 + int(value) // 10)
    return known


def eta_of(line: Line, parts: tuple[FamilyPart, ...]) -> int:
    return line.alpha + sum(
        (line.slopes[part.name] * (part.total // max(1, part.holders))) >> UNIT_BITS
        for part in parts
    )


def check(applicant: Applicant) -> None:
    """The federation's identifier is eight digits; the own family is repayment."""
    if not (len(applicant.person) == 8 and applicant.person.isdecimal()):
        raise PersonError("person: not eight digits")
    if applicant.attributes is not None:
        for name, value in applicant.attributes.items():
            if name not in CODES:
                raise DataError(f"attributes: {name!r} is no feature of this partner's")
            if isinstance(value, str):
                raise DataError(f"attribute {name!r} is a text, expected a number")


class Kept:
    """Answers by key, as ``scoring_store`` keeps them."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, bytes]] = {}

    def answered(self, key: str) -> tuple[str, bytes] | None:
        return self.rows.get(key)

    def keep_answer(self, key: str, question: str, answer: bytes) -> None:
        self.rows[key] = (question, answer)


def status() -> DeskStatus:
    return DeskStatus(
        partner="bank_a", manifest=POLICY, delivery="joint", model=MODEL, partners=3
    )


def loan_desk(
    session: Session, kept: Kept | None = None, *, now: Callable[[], int] = lambda: NOW
) -> LoanDesk:
    return LoanDesk(
        DeskPorts(
            ask=session.ask,
            check=check,
            served=lambda _answer: SERVED,
            answers=kept or Kept(),
            keyed=desk_hash(secret("local desk")),
            status=status,
            now=now,
        )
    )


def config(directory: Path, doors: DeskDoors | None = None) -> Config:
    (directory / "keys").mkdir(mode=0o700, exist_ok=True)
    plain = Config(directory=directory, partner=PartnerId("bank_a"), addresses=None, data=None)
    return plain if doors is None else replace(plain, desk=doors)


@asynccontextmanager
async def open_desk(
    directory: Path,
    session: Session | None = None,
    doors: DeskDoors | None = None,
    *,
    now: Callable[[], int] = lambda: NOW,
) -> AsyncIterator[Session]:
    """All doors that ``doors`` names, open over a toy session."""
    session = session or Session()
    async with open_doors(config(directory, doors), loan_desk(session, now=now), now=now):
        yield session
