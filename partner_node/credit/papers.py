"""Papers of stored decisions: notice, offers, the list for all, sheet, confirmation, contract.

Everything is read from the desk's database and rules; nothing is asked of anybody. Times of
showing and confirming are this node's own, so that no client can claim to have read.
"""

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from consortium.canonical import canonical_json
from consortium.credit.cost import (
    Channel,
    Choice,
    Confirmation,
    CostSheet,
    Reading,
    chosen,
    require_confirmation,
    sheet_digest,
)
from consortium.credit.facts import DecisionInput
from consortium.credit.hooks import Hook
from consortium.credit.offers import SHOWN_MINOR, Listed, Offer, listed_for_all
from consortium.credit.pack import Language, Pack
from consortium.credit.terms import Money, Segment
from consortium.credit.tiers import Rules
from consortium.credit.verdict import Decision, Override
from consortium.documents import document_of, parse_document, plain_of
from consortium.errors import (
    DataError,
    DecodeError,
    NotConfirmedError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.features.schema import Schema
from partner_node.credit import storage, storage_path, storage_people
from partner_node.credit.application import DeskService
from partner_node.credit.document import Paper
from partner_node.credit.helping import Helper
from partner_node.credit.house_terms import HouseTerms, Words, terms_at
from partner_node.credit.notices import Noticed, notice_of
from partner_node.credit.offers import (
    Granted,
    Offered,
    check_valid,
    granted,
    offers_now,
    sheet_of,
)
from partner_node.credit.page_html import html_of
from partner_node.credit.page_pdf import pdf_of
from partner_node.credit.sheets import list_paper, sheet_paper
from partner_node.credit.storage import Connection
from partner_node.credit.storage_path import Contract, StoredSheet
from partner_node.credit.what_helps import Help

FORMATS = ("html", "pdf")
MEDIA_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
_HELP_S = 5.0
"""How long a notice waits for what would help to be worked out."""
_READING = Reading(forced_reading_s=0, confirm=True, channels=tuple(Channel))
"""Where a pack asks for nothing, a sheet is confirmed all the same."""


def printed(paper: Paper, form: str) -> bytes:
    """A paper as HTML or PDF; DataError for any other form."""
    if form == "pdf":
        return pdf_of(paper)
    if form != "html":
        raise DataError(f"format: expected one of {', '.join(FORMATS)}")
    return html_of(paper).encode()


@dataclass(frozen=True, slots=True)
class _Found:
    """A stored decision and what it was made by. Private."""

    decision: Decision
    final: Override | None
    inputs: DecisionInput
    rules: Rules
    answer: bytes
    subject: bytes
    """Under which the node keeps the person; empty if nobody was named, or nobody is now."""


class PaperDesk:
    """Makes and keeps papers; safe to use from any thread."""

    def __init__(
        self, service: DeskService, directory: Path, schema: Schema | None = None
    ) -> None:
        """``schema``: in force; it says what a federation's own reason codes are about."""
        self._service = service
        self._directory = directory
        self._schema = schema

    # --- decisions ----------------------------------------------------------------------------

    def keep_help(self, name: str, document: bytes) -> "Future[None]":
        """Keep what would change a decision; on disk when the future is done.

        Not if the person was deleted meanwhile: what is nobody's is not told anybody.
        """
        at = self._service.ports.now()

        def keep(connection: Connection) -> None:
            stored = storage.decision_of(connection, name)
            if stored is not None and stored.subject:
                storage_path.keep_help(connection, name, document, at)

        return self._service.submit(keep)

    def noticed(self, name: str) -> Noticed:
        """All that the notice of a decision is made from. Private."""
        found = self._found(name)
        with self._service.ports.store.reading() as connection:
            helps = storage_path.help_for(connection, name)
            sheet = storage_path.newest_sheet(connection, name)
        return Noticed(
            id=found.decision.digest,
            decision=found.decision,
            inputs=found.inputs,
            rules=found.rules,
            texts=_texts(found.answer),
            final=found.final,
            helps=None if helps is None else Help.from_bytes(helps),
            offered=self.offers(name),
            terms=self._terms(found.decision.decided_on),
            sheet=None if sheet is None else sheet.digest,
            schema=self._schema,
        )

    def notice(self, name: str, language: Language) -> Paper:
        """The notice of a decision.

        Raises:
            DataError: no decision of this id.
            DigestMismatchError: what would change it does not come out as it was found.
        """
        return notice_of(self.noticed(name), language)

    def offers(self, name: str, *, repays_arrears: bool = False) -> Offered:
        """What suits the applicant of a decision, by what the person still allows."""
        found = self._found(name)
        with self._service.ports.store.reading() as connection:
            gone = storage_people.withdrawn_by(connection, found.subject)
        return offers_now(found.inputs, found.rules, gone, repays_arrears=repays_arrears)

    def listed(self) -> tuple[Listed, ...]:
        """The list that is not personal, today."""
        day = self._service.today()
        return listed_for_all(self._service.ports.rules.at(day).rules, day=day)

    def list_paper(self, language: Language) -> Paper:
        """The same as a paper."""
        day = self._service.today()
        currency = self._service.ports.rules.at(day).rules.policy.currency
        return list_paper(
            self.listed(),
            language,
            amount=Money(SHOWN_MINOR, currency),
            lender=self._terms(day).lender,
        )

    # --- sheets -------------------------------------------------------------------------------

    def make_sheet(self, name: str) -> CostSheet:
        """Make and keep the sheet of what a decision granted, paid out today.

        Raises:
            NotFoundError: no decision of this id, or its person was deleted.
            OutOfOrderError: the last word on it is no approval, or one whose days are over.
            CostCapError: it would cost more than the pack's cap.
        """
        now, day = self._moment()
        with self._service.ports.store.transaction() as connection:
            what, sheet = self._due(self._found(name), day)
            _check_there(connection, name)
            stored = StoredSheet(
                digest=sheet_digest(sheet),
                decision=name,
                product=what.product.id,
                document=document_of(sheet),
                at=now,
            )
            storage_path.keep_sheet(connection, stored)
        return sheet

    def sheet_paper(self, digest: str, language: Language) -> Paper:
        """A kept sheet as a paper."""
        with self._service.ports.store.reading() as connection:
            stored = _sheet(connection, digest)
        sheet = parse_document(CostSheet, stored.document)
        found = self._found(stored.decision)
        product = _granted(found).product
        return sheet_paper(
            sheet,
            language,
            product=Words(zh=product.name_zh, en=product.name_en),
            lender=self._terms(sheet.payout_on).lender,
            reading=reading_of(found.rules.pack, product.segment, sheet.payout_on),
        )

    def show_sheet(self, digest: str, channel: str) -> int:
        """Keep that a sheet is shown now; returns when."""
        if channel not in set(Channel):
            raise DataError(f"channel: expected one of {', '.join(Channel)}")
        now = self._service.ports.now()
        with self._service.ports.store.transaction() as connection:
            _sheet(connection, digest)
            storage_path.keep_showing(connection, digest, channel, now)
        return now

    def confirm_sheet(self, digest: str) -> Confirmation:
        """Keep that the borrower confirmed the sheet that was shown last.

        Raises:
            NotConfirmedError: it was not shown.
        """
        now = self._service.ports.now()
        with self._service.ports.store.transaction() as connection:
            _sheet(connection, digest)
            shown = storage_path.last_showing(connection, digest)
            if shown is None:
                raise NotConfirmedError("this sheet was shown to nobody")
            storage_path.confirm_showing(connection, shown.number, now)
            return _confirmation(connection, digest)

    def choose(self, digest: str, addon: str, *, taken: bool) -> None:
        """Keep what the borrower said to an add-on of a sheet."""
        with self._service.ports.store.transaction() as connection:
            sheet = parse_document(CostSheet, _sheet(connection, digest).document)
            if addon not in {one.addon.code for one in sheet.addons}:
                raise DataError("no add-on of this code is on the sheet")
            day = self._service.today()
            storage_path.keep_choice(connection, digest, addon, taken=taken, on=day)

    def sign(self, digest: str) -> Contract:
        """Sign under a sheet: the contract names its digest. Again: the same contract.

        Raises:
            NotFoundError: no such sheet, or its person was deleted.
            NotConfirmedError: not shown, not confirmed, too short a time, or another channel.
            OutOfOrderError: of another day, signed under another sheet, what was granted is
                another loan now, or the days of the approval are over.
        """
        now, day = self._moment()
        with self._service.ports.store.transaction() as connection:
            stored = _sheet(connection, digest)
            _check_there(connection, stored.decision)
            before = storage_path.contract_of(connection, stored.decision)
            if before is not None:
                if before.sheet != digest:
                    raise OutOfOrderError("a contract under this decision names another sheet")
                return before
            sheet = parse_document(CostSheet, stored.document)
            found = self._found(stored.decision)
            what, made = self._due(found, day)
            _check_current(stored, sheet, made)
            reading = reading_of(found.rules.pack, what.product.segment, day)
            confirmation = _confirmation(connection, digest)
            named = require_confirmation(sheet, confirmation, reading, now=now)
            taken = chosen(sheet, _choices(connection, digest))
            contract = Contract(
                decision=stored.decision,
                sheet=named,
                addons=" ".join(one.code for one in taken),
                at=now,
            )
            storage_path.keep_contract(connection, contract)
        return contract

    # --- parts --------------------------------------------------------------------------------

    def _moment(self) -> tuple[int, date]:
        """Second and day of one look at the clock."""
        now = self._service.ports.now()
        return now, self._service.ports.day_of(now)

    def _due(self, found: _Found, day: date) -> tuple[Granted, CostSheet]:
        """What may be signed on a day, and its sheet."""
        what = _granted(found)
        check_valid(found.decision, found.final, found.rules, day)
        return what, sheet_of(what, found.rules, self._terms(day), day=day)

    def _terms(self, day: date) -> HouseTerms:
        return terms_at(self._directory, day)

    def _found(self, name: str) -> _Found:
        stored = self._service.decision(name)
        inputs = DecisionInput.from_bytes(stored.input)
        with self._service.ports.store.reading() as connection:
            rules = self._service.rules_of(connection, inputs)
        finals = self._service.overrides(name)
        return _Found(
            decision=Decision.from_bytes(stored.decision),
            final=finals[-1] if finals else None,
            inputs=inputs,
            rules=rules,
            answer=stored.answer,
            subject=stored.subject,
        )


def promises_kept(service: DeskService, count: int) -> tuple[int, int]:
    """Apply the newest changes that are told as helping, and decide again.

    Returns:
        Findings of what would help, and those of them with changes; each of these came out
        byte for byte as it was promised.

    Raises:
        DigestMismatchError: one comes out otherwise.
    """
    found = kept = 0
    with service.ports.store.reading() as connection:
        for name, document in storage_path.newest_helps(connection, count):
            helps = Help.from_bytes(document)
            inputs = DecisionInput.from_bytes(service.decision(name).input)
            found += 1
            kept += helps.promised(service.rules_of(connection, inputs)) is not None
    return found, kept


class DoorPapers:
    """Offers and notices as the desk's doors ask for them (``doors.Papers``)."""

    def __init__(self, papers: PaperDesk, helper: Helper) -> None:
        self._papers = papers
        self._helper = helper

    def offer(self, plain: object, *, key: str, caller: str) -> bytes:
        """What suits the applicant of a decision; without one, the list for everybody.

        Args:
            plain: ``decision`` and, if the funds are to pay arrears, ``repays_arrears``.
            key: Not needed: the answer follows from what is stored, and nothing is kept.
            caller: Likewise.

        Raises:
            DecodeError: not of its form.
            NotFoundError: no decision of this id.
        """
        del key, caller
        if not isinstance(plain, dict) or set(plain) - {"decision", "repays_arrears"}:
            raise DecodeError("expected an object of decision and repays_arrears")
        name, arrears = plain.get("decision"), plain.get("repays_arrears", False)
        if type(arrears) is not bool or not isinstance(name, str | None):
            raise DecodeError("decision: a text; repays_arrears: true or false")
        if name is None:
            lines = [plain_of(one) for one in self._papers.listed()]
            return canonical_json({"personal": False, "products": lines})
        return canonical_json(plain_offered(self._papers.offers(name, repays_arrears=arrears)))

    def notice(self, decision: str, form: str, lang: str) -> tuple[bytes, str]:
        """The notice of a decision and its media type, once what helps is worked out."""
        if form not in FORMATS or lang not in set(Language):
            known = f"{' or '.join(FORMATS)}, lang {' or '.join(Language)}"
            raise DecodeError(f"expected format {known}")
        self._helper.wait(decision, _HELP_S)
        paper = self._papers.notice(decision, Language(lang))
        return printed(paper, form), MEDIA_TYPES[form]


def plain_offered(offered: Offered) -> dict[str, object]:
    """Offers as JSON holds them."""
    return {
        "personal": True,
        "none_suits": not offered.offers,
        "why": list(offered.why),
        "counselling": offered.counselling,
        "offers": [_plain_offer(one) for one in offered.offers],
        "refused": [{"product": name, "why": why} for name, why in offered.refused],
    }


def _plain_offer(one: Offer) -> dict[str, object]:
    return {
        "product": one.product,
        "amount": one.terms.amount.minor,
        "currency": one.terms.amount.currency,
        "months": one.terms.months,
        "price_apr": one.terms.price_apr,
        "monthly_due": one.monthly_due,
        "total_cost": one.total_cost,
        "fit": one.fit,
        "documents": list(one.documents),
    }


def reading_of(pack: Pack, segment: Segment, day: date) -> Reading:
    """What the pack asks for before a contract; a confirmation always."""
    demanded = pack.demands(Hook.COST_SHEET, day, segment)
    return _READING if demanded is None else Reading.of(demanded)


def _granted(found: _Found) -> Granted:
    return granted(found.decision, found.final, found.inputs, found.rules)


def _check_there(connection: Connection, name: str) -> None:
    """The decision is still somebody's; one that never was has no score and no price."""
    stored = storage.decision_of(connection, name)
    if stored is not None and not stored.subject:
        raise NotFoundError("the decision is nobody's: its person was deleted")


def _check_current(stored: StoredSheet, sheet: CostSheet, made: CostSheet) -> None:
    """The sheet is the one that would be made now: day, amount, price, terms, cap."""
    if sheet.payout_on != made.payout_on:
        raise OutOfOrderError("the sheet is of another day; make it again")
    if sheet_digest(made) != stored.digest:
        raise OutOfOrderError("what was granted is not what the sheet says; make it again")


def _sheet(connection: Connection, digest: str) -> StoredSheet:
    found = storage_path.sheet_by(connection, digest)
    if found is None:
        raise NotFoundError("no cost sheet of this digest")
    return found


def _confirmation(connection: Connection, digest: str) -> Confirmation:
    shown = storage_path.last_showing(connection, digest)
    if shown is None or shown.confirmed_at is None:
        raise NotConfirmedError("the sheet was not shown, or not confirmed")
    sheet = _sheet(connection, digest)
    return Confirmation(
        sheet=sheet.digest,
        channel=Channel(shown.channel),
        shown_at=shown.shown_at,
        confirmed_at=shown.confirmed_at,
    )


def _choices(connection: Connection, digest: str) -> list[Choice]:
    sheet = _sheet(connection, digest).digest
    return [
        Choice(sheet=sheet, addon=addon, taken=taken, on=on)
        for addon, taken, on in storage_path.choices_of(connection, digest)
    ]


def _texts(answer: bytes) -> Mapping[str, Words]:
    """Words of the codes, as the desk was told them when it was decided."""
    reasons = json.loads(answer)["reasons"]
    return {one["code"]: Words(zh=one["zh"], en=one["en"]) for one in reasons if one["en"]}
