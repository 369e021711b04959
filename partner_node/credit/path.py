"""The borrower's way back at this partner: restart, ladder, counselling (credit path 10, 11).

The rules are ``consortium.credit``; here they are kept. A ladder's state and the step that
led to it are one transaction, each step counts once, and what is stored must follow from its
steps: so a killed process loses nothing that was told, a repeated command changes nothing,
and no rung can be skipped by writing in the database alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from consortium.credit import ladder as rungs
from consortium.credit.capacity import CREDITS, Income, NewLoan, amount_that_fits
from consortium.credit.counselling import Case, Situation, open_case
from consortium.credit.debt_plans import PlanRules
from consortium.credit.facts import Consent
from consortium.credit.ladder import Ladder, State, Step
from consortium.credit.restart import (
    Bar,
    Placed,
    Tier,
    reinstated_limit,
    reinstated_price,
    tier_of,
    treatment_of,
)
from consortium.credit.terms import ConsentPurpose, Ppm, parse_ppm
from consortium.credit.tiers import Rules
from consortium.documents import document_of, parse_document
from consortium.errors import (
    ConsentMissingError,
    DigestMismatchError,
    DomainError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.ids import Digest
from partner_node.credit import storage_path, storage_rights
from partner_node.credit.application import DeskService
from partner_node.credit.path_forms import CounselAsked, RestartAsked
from partner_node.credit.storage import Connection
from partner_node.credit.storage_path import StoredLadder

OFFER = "OFFER"
"""The first step of each ladder, before those of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Where a closed line's borrower stands. Private."""

    line: str
    on: date
    tier: Tier
    bars: tuple[Bar, ...]
    counselling_first: bool
    again_on: date | None
    may_contact: bool
    """Consent to RESTART_CONTACT is in force; without it the person may still apply."""
    old_limit: int
    limit: int
    """Of tier A, pre-approved; 0 of any other."""
    price: Ppm | None
    """Of tier A; never more than before the closure."""
    currency: str
    policy: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A ladder as its borrower is told it. Private."""

    line: str
    ladder: Ladder
    limit: int
    currency: str
    steps: tuple[tuple[str, date], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counselled:
    """A case, and its follow-ups. Private."""

    case: Case = field(repr=False)
    filed: bool
    """Without consent to COUNSELLING there is advice, but no file and no follow-up."""
    follow_ups: tuple[tuple[date, date | None], ...]
    """Due, and done."""


class PathDesk:
    """Keeps restarts, ladders and cases; safe to use from any thread and process."""

    def __init__(self, service: DeskService) -> None:
        self._service = service
        self._store = service.ports.store

    # --- restart ------------------------------------------------------------------------------

    def restart(self, asked: RestartAsked) -> Restart:
        """Place a closed line's borrower, and keep it.

        Raises:
            DomainError: no closure by the lender, or figures that cannot be.
        """
        return self.restart_all([asked])[0]

    def restart_all(self, every: Sequence[RestartAsked]) -> list[Restart]:
        """Place the borrowers of many closed lines by the rules of today: all or nobody.

        Raises:
            DomainError: as ``restart``.
        """
        today = self._service.today()
        rules = self._service.ports.rules.at(today)
        made = [self._placed(one, rules.rules, today) for one in every]
        with self._store.transaction() as connection:
            at = self._service.ports.now()
            for one in made:
                document = document_of(one)
                storage_path.keep_restart(connection, one.line, document, tier=one.tier, at=at)
        return made

    def _placed(self, asked: RestartAsked, rules: Rules, today: date) -> Restart:
        closed = asked.closed
        placed = tier_of(closed, rules.policy.restart)
        treatment = treatment_of(closed, placed, today=today)
        limit, price = _reinstated(asked, placed, rules, today)
        return Restart(
            line=asked.line,
            on=today,
            tier=placed.tier,
            bars=placed.bars,
            counselling_first=treatment.counselling_first,
            again_on=treatment.again_on,
            may_contact=self._allowed(
                asked.line, asked.consents, ConsentPurpose.RESTART_CONTACT
            ),
            old_limit=asked.old_limit,
            limit=limit,
            price=price,
            currency=rules.policy.currency,
            policy=rules.policy_digest,
        )

    def restarted(self, line: str) -> Restart:
        """Where the borrower of a line stands; DataError if it was not looked at."""
        with self._store.reading() as connection:
            return _restart(connection, line)

    # --- ladder -------------------------------------------------------------------------------

    def offer_ladder(self, line: str, *, applied: bool) -> Standing:
        """Offer a ladder to a borrower of tier B. Again: the ladder as it stands.

        Args:
            line: The partner's own reference.
            applied: The person came by themselves, so no consent to contact is needed.

        Raises:
            OutOfOrderError: not tier B, or counselling comes first.
            ConsentMissingError: no consent to RESTART_CONTACT, and not applied.
        """
        today, at = self._service.today(), self._service.ports.now()
        with self._store.transaction() as connection:
            if storage_path.ladder_of(connection, line) is None:
                found = _restart(connection, line)
                _check_offer(connection, found, applied=applied)
                stored = StoredLadder(
                    line=line,
                    old_limit=found.old_limit,
                    currency=found.currency,
                    state=document_of(rungs.offered(today)),
                    at=at,
                )
                storage_path.keep_step(connection, line, 0, step=OFFER, on=today, at=at)
                storage_path.keep_ladder(connection, stored)
            return _standing(connection, line)

    def step(self, line: str, event: Step, *, on: date | None = None) -> Standing:
        """Write down what happened. The same event of the same day again changes nothing.

        Args:
            line: Whose ladder.
            event: What happened.
            on: Its day; of a payment the due date that was paid. None: today.

        Raises:
            OutOfOrderError: it may not follow; nothing is changed.
            DomainError: a day ahead.
            DigestMismatchError: what is stored does not follow from its steps.
        """
        today, at = self._service.today(), self._service.ports.now()
        day = today if on is None else on
        if day > today:
            raise DomainError("on: a date in the future")
        with self._store.transaction() as connection:
            now = _standing(connection, line)
            if (event.value, day) in now.steps:
                return now
            _check_month(now, event, day)
            after = rungs.step(now.ladder, event, on=day)
            number = len(now.steps)
            storage_path.keep_step(connection, line, number, step=event, on=day, at=at)
            stored = _stored(connection, line)
            storage_path.keep_ladder(
                connection,
                StoredLadder(
                    line=line,
                    old_limit=stored.old_limit,
                    currency=stored.currency,
                    state=document_of(after),
                    at=at,
                ),
            )
            return _standing(connection, line)

    def ladder(self, line: str) -> Standing:
        """A ladder as it stands; DigestMismatchError if it does not follow from its steps."""
        with self._store.reading() as connection:
            return _standing(connection, line)

    # --- counselling --------------------------------------------------------------------------

    def counsel(self, asked: CounselAsked, plans: PlanRules) -> Counselled:
        """Open a case; without consent to COUNSELLING there is advice without a file.

        Raises:
            DomainError: who is not eligible, or figures that cannot be.
            OutOfOrderError: there is a case of this reference.
        """
        today = self._service.today()
        situation = Situation(
            cause=asked.cause,
            tier=asked.tier,
            dpd=asked.dpd,
            income=asked.income,
            household=asked.household,
            debts=asked.debts,
        )
        case = open_case(asked.case, situation, plans, closed_on=asked.closed_on, today=today)
        if not self._allowed(asked.case, asked.consents, ConsentPurpose.COUNSELLING):
            return Counselled(case=case, filed=False, follow_ups=())
        with self._store.transaction() as connection:
            if storage_path.case_by(connection, asked.case) is not None:
                raise OutOfOrderError("there is a counselling case of this reference")
            at = self._service.ports.now()
            storage_path.keep_case(
                connection, asked.case, document_of(case), case.follow_up_on, at=at
            )
            return _case(connection, asked.case)

    def case(self, name: str) -> Counselled:
        """A case that was filed; DataError if there is none."""
        with self._store.reading() as connection:
            return _case(connection, name)

    def is_counselled(self, name: str) -> bool:
        """Whether a case of this reference is filed."""
        with self._store.reading() as connection:
            return storage_path.case_by(connection, name) is not None

    def due(self) -> Sequence[tuple[str, date]]:
        """Follow-ups that are due today or before, and not done."""
        with self._store.reading() as connection:
            return storage_path.follow_ups_due(connection, self._service.today())

    def done(self, name: str, due_on: date) -> Counselled:
        """Write down that a follow-up was done today.

        Raises:
            OutOfOrderError: no open follow-up of that day, or it lies ahead.
        """
        today = self._service.today()
        with self._store.transaction() as connection:
            if due_on > today or not storage_path.follow_up_done(
                connection, name, due_on, today
            ):
                raise OutOfOrderError("no follow-up of that day is due and open")
            return _case(connection, name)

    def _allowed(self, line: str, consents: Sequence[Consent], purpose: ConsentPurpose) -> bool:
        """Whether a consent is in force, and was not withdrawn here, whatever the desk says."""
        day = self._service.today()
        with self._store.reading() as connection:
            gone = storage_rights.withdrawn_of_line(connection, line)
        given = any(one.purpose is purpose and one.allows(day) for one in consents)
        return given and purpose not in gone


# --- parts ------------------------------------------------------------------------------------


def _reinstated(
    asked: RestartAsked, placed: Placed, rules: Rules, today: date
) -> tuple[int, Ppm | None]:
    """Limit and price of tier A; nothing where the policy sells nothing."""
    product = rules.catalogue.product(asked.product)
    if placed.tier is not Tier.A or product is None or asked.eta is None:
        return 0, None
    terms = rules.terms(product, rules.grade(asked.eta), asked.purpose)
    if terms is None or asked.income is None:
        return 0, None
    old = parse_ppm(asked.old_price)
    price = reinstated_price(old, lowest=terms.price[0])
    months = min(max(asked.tenor_months, terms.tenor[0]), terms.tenor[1])
    fits = amount_that_fits(
        NewLoan(product.repayment, price, months),
        Income(credits=(asked.income,) * CREDITS, latest_on=today),
        dues=asked.dues,
        cap=rules.policy.restart.a_dsr,
        rules=rules.policy.rules,
    )
    limit = reinstated_limit(asked.old_limit, tier_limit=terms.limit, dsr_limit=fits)
    return (limit, price) if limit >= terms.least else (0, None)


def _restart(connection: Connection, line: str) -> Restart:
    found = storage_path.restart_of(connection, line)
    if found is None:
        raise NotFoundError("no restart of this line; place it first")
    return parse_document(Restart, found)


def _check_offer(connection: Connection, found: Restart, *, applied: bool) -> None:
    if found.tier is not Tier.B:
        raise OutOfOrderError(f"a ladder is for tier B, this line is of tier {found.tier}")
    if not (found.may_contact or applied):
        raise ConsentMissingError("no consent to RESTART_CONTACT is in force")
    counselled = storage_path.case_by(connection, found.line) is not None
    if found.counselling_first and not counselled:
        raise OutOfOrderError("counselling comes first: open a case under the line's reference")


def _stored(connection: Connection, line: str) -> StoredLadder:
    found = storage_path.ladder_of(connection, line)
    if found is None:
        raise NotFoundError("no ladder of this line")
    return found


def _standing(connection: Connection, line: str) -> Standing:
    """The ladder, if it follows from its steps."""
    stored = _stored(connection, line)
    steps = tuple(storage_path.steps_of(connection, line))
    try:
        made = _folded(steps)
    except OutOfOrderError:
        made = None
    if made is None or document_of(made) != stored.state:
        raise DigestMismatchError(f"ladder {line}", "its steps", "what is stored")
    return Standing(
        line=line,
        ladder=made,
        limit=made.limit(stored.old_limit),
        currency=stored.currency,
        steps=steps,
    )


def _folded(steps: Sequence[tuple[str, date]]) -> Ladder | None:
    """The ladder after its steps; None if they do not begin with an offer."""
    if not steps or steps[0][0] != OFFER:
        return None
    ladder = rungs.offered(steps[0][1])
    for name, on in steps[1:]:
        ladder = rungs.step(ladder, Step(name), on=on)
    return ladder


def _check_month(now: Standing, event: Step, day: date) -> None:
    """One payment on time counts a month: a rung cannot be bought by paying more often."""
    if event is not Step.PAID_ON_TIME or now.ladder.state is not State.ACTIVE:
        return
    months = {on.replace(day=1) for name, on in now.steps if name == Step.PAID_ON_TIME}
    if day.replace(day=1) in months:
        raise OutOfOrderError("a payment of this month was counted already")


def _case(connection: Connection, name: str) -> Counselled:
    document = storage_path.case_by(connection, name)
    if document is None:
        raise NotFoundError("no counselling case of this reference")
    return Counselled(
        case=parse_document(Case, document),
        filed=True,
        follow_ups=tuple(storage_path.follow_ups(connection, name)),
    )
