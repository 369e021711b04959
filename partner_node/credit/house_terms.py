"""What this partner tells borrowers beside a price: ``credit/terms*.toml``, dated.

Whom to ask for a review or with a dispute, what happens if one pays late or early, what may
be taken beside a credit, and how counselling counts living costs. One version is in force on
a day; a file that is refused stops papers, with its line and field.
"""

from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path

from consortium.canonical import Label, hash_with
from consortium.credit.cost import AddOn, Clause
from consortium.credit.debt_plans import PlanRules
from consortium.credit.pack import Language
from consortium.credit.reading import Table, read_toml
from consortium.credit.terms import Money, Span
from consortium.documents import document_of
from consortium.errors import ConfigurationError, DomainError, PolicyError
from consortium.ids import Digest
from partner_node.credit.rules import FOLDER
from partner_node.keystore import read_file

_LONGEST_PLAN = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One text in both languages."""

    zh: str
    en: str

    def of(self, language: Language) -> str:
        """The text in one of them."""
        return self.zh if language is Language.ZH else self.en


@dataclass(frozen=True, slots=True, kw_only=True)
class Sold:
    """An add-on, and the products beside which it may be taken."""

    addon: AddOn
    products: tuple[str, ...]
    """Empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseTerms:
    """One dated version. Public: it is what borrowers are told."""

    id: str
    version: str
    currency: str
    effective_from: date
    effective_to: date | None
    lender: Words
    review: Words
    """Where a person asks for a person's decision."""
    dispute: Words
    """Where a person says that a record is wrong."""
    dispute_days: int
    counselling: Words
    penalties: tuple[Clause, ...]
    early_repayment: Clause
    addons: tuple[Sold, ...]
    plans: PlanRules

    @property
    def span(self) -> Span:
        """When it is in force."""
        return Span(self.effective_from, self.effective_to)

    @property
    def digest(self) -> Digest:
        """Named by every paper that was made with it."""
        return hash_with(Label.HOUSE_TERMS, document_of(self))

    def beside(self, product: str) -> tuple[AddOn, ...]:
        """What may be taken beside a product."""
        return tuple(
            one.addon for one in self.addons if not one.products or product in one.products
        )


def terms_at(directory: Path, day: date) -> HouseTerms:
    """The version of a node's directory that is in force on a day.

    Raises:
        ConfigurationError: there is no file; run ``riskweave desk init``.
        PolicyError: a file breaks a rule, versions overlap, or none is in force.
    """
    folder = directory / FOLDER
    files = sorted(folder.glob("terms*.toml"))
    if not files:
        raise ConfigurationError(
            f"{folder}: no terms*.toml; copy one from a new desk (riskweave desk init), edit it"
        )
    found = [parse_terms(read_file(path), path.name) for path in files]
    for one, other in combinations(found, 2):
        if one.span.meets(other.span):
            raise PolicyError(
                f"terms {other.id} {other.version}: seen in force together with version "
                f"{one.version}, expected one at a time"
            )
    for one in found:
        if one.span.holds(day):
            return one
    raise PolicyError(f"terms: seen none in force on {day}, expected one")


def parse_terms(data: bytes, source: str) -> HouseTerms:
    """Read one version.

    Raises:
        PolicyError: naming file, line, field, value seen and value expected.
    """
    top = read_toml(data, source)
    head, contact = top.table("terms"), top.table("contact")
    span = head.span()
    currency = head.currency("currency")
    terms = HouseTerms(
        id=head.identifier("id"),
        version=head.identifier("version"),
        currency=currency,
        effective_from=span.start,
        effective_to=span.end,
        lender=_words(head, "lender"),
        review=_words(contact, "review"),
        dispute=_words(contact, "dispute"),
        dispute_days=contact.integer("dispute_days", 1, 3_650),
        counselling=_words(contact, "counselling"),
        penalties=tuple(_clause(one) for one in top.tables("penalty")),
        early_repayment=_clause(top.table("early_repayment")),
        addons=tuple(_sold(one, currency) for one in top.tables("addon")),
        plans=_plans(top.table("counselling")),
    )
    codes = [one.addon.code for one in terms.addons]
    if len(set(codes)) < len(codes):
        raise top.refuse("addon", codes, "each code once")
    for table in (head, contact, top):
        table.done()
    return terms


def _words(table: Table, name: str) -> Words:
    return Words(zh=table.text(f"{name}_zh"), en=table.text(f"{name}_en"))


def _clause(table: Table) -> Clause:
    clause = Clause(code=table.identifier("code"), zh=table.text("zh"), en=table.text("en"))
    table.done()
    return clause


def _sold(table: Table, currency: str) -> Sold:
    sold = Sold(
        addon=AddOn(
            code=table.identifier("code"),
            name_zh=table.text("name_zh"),
            name_en=table.text("name_en"),
            payee=table.text("payee"),
            amount=Money(table.integer("amount", 0), currency),
            every=table.integer("every", 0),
            cooling_off_days=table.integer("cooling_off_days", 0),
        ),
        products=table.texts("products"),
    )
    table.done()
    return sold


def _plans(table: Table) -> PlanRules:
    living = table.integers("living_costs", 0)
    try:
        plans = PlanRules(
            living_costs=living,
            longest_months=table.integer("longest_months", 1, _LONGEST_PLAN),
            consolidated_apr=table.share("consolidated_apr", "10"),
            pause_months=table.integer("pause_months", 0, _LONGEST_PLAN),
        )
    except DomainError as error:
        raise table.refuse("living_costs", list(living), "amounts that do not fall") from error
    table.done()
    return plans
