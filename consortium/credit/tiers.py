"""Products and tiers: grade x purpose -> conditions, checked against the pack (rows 13, 14).

A catalogue says what is sold, a policy to whom and how much, a pack what the law bounds.
``check_rules`` puts the three together once; what it returns is what decisions are made
by. Grades compare integers, never a rounded PD (protocol 13.1).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from consortium.canonical import Label, hash_with
from consortium.credit.instalments import within_cap
from consortium.credit.pack import Pack
from consortium.credit.policy import Cell, Policy
from consortium.credit.reading import Table, read_toml
from consortium.credit.terms import GRADES, PURPOSES, Grade, Ppm, Purpose, Segment, Span
from consortium.documents import document_of
from consortium.errors import PolicyError
from consortium.ids import Digest
from consortium.scoring.scorecard import cut_units

LEAST_PERSONS = 200
"""Smaller grades merge with the next weaker before bad rates are compared (row 14)."""

_ENTERPRISE = (Segment.SME, Segment.PROJECT)


class Repayment(StrEnum):
    """How a product is paid back."""

    ANNUITY = "annuity"
    REVOLVING = "revolving"
    BULLET = "bullet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One thing that is sold. Public."""

    id: str
    name_zh: str
    name_en: str
    segment: Segment
    repayment: Repayment
    purposes: tuple[Purpose, ...]
    weakest_grade: Grade
    """It is offered to this grade and to all stronger ones."""
    amount: tuple[int, ...]
    """Smallest and largest, minor units."""
    tenor_months: tuple[int, ...]
    price_apr: tuple[Ppm, ...]
    fee_share: Ppm
    """Mandatory fee at payout, as a share of the amount."""
    documents: tuple[str, ...]

    def serves(self, grade: Grade, purpose: Purpose) -> bool:
        """Whether it is sold in this cell."""
        return purpose in self.purposes and grade <= self.weakest_grade


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOffered:
    """A cell of the catalogue in which nothing is sold, and why."""

    grade: Grade
    purpose: Purpose
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All products of a partner. Public."""

    id: str
    version: str
    currency: str
    effective_from: date
    effective_to: date | None
    products: tuple[Product, ...]
    not_offered: tuple[NotOffered, ...]

    @property
    def digest(self) -> Digest:
        """Named by every decision under this catalogue."""
        return hash_with(Label.CATALOGUE, document_of(self))

    def in_force(self, day: date) -> bool:
        """Whether it holds on that day."""
        return Span(self.effective_from, self.effective_to).holds(day)

    def product(self, name: str) -> Product | None:
        """The product of this id, or None."""
        return next((one for one in self.products if one.id == name), None)

    def cell(self, grade: Grade, purpose: Purpose) -> tuple[Product, ...]:
        """What is sold in a cell, in the file's order; () where nothing is."""
        return tuple(one for one in self.products if one.serves(grade, purpose))


@dataclass(frozen=True, slots=True)
class Terms:
    """Conditions of a product in a cell of the policy: the narrower of both."""

    limit: int
    """Minor units."""
    least: int
    tenor: tuple[int, int]
    price: tuple[Ppm, Ppm]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Pack, policy and catalogue that fit together; made by ``check_rules`` only."""

    pack: Pack = field(repr=False)
    policy: Policy = field(repr=False)
    catalogue: Catalogue = field(repr=False)
    pack_digest: Digest
    policy_digest: Digest
    catalogue_digest: Digest
    grade_cuts: tuple[int, ...] = field(repr=False)
    """Where G2 to G5 begin, in units of 2**-32 log-odds."""
    _terms: Mapping[tuple[str, Grade, Purpose], Terms] = field(
        init=False, repr=False, compare=False
    )
    """By product, grade and purpose, where something is offered."""
    _cuts: Mapping[tuple[str, Purpose], tuple[int, int]] = field(
        init=False, repr=False, compare=False
    )
    """By product and purpose, where it is sold to somebody."""

    def __post_init__(self) -> None:
        """Work out once what every decision asks of the three."""
        terms = {
            (product.id, cell.grade, cell.purpose): terms_of(product, cell)
            for product in self.catalogue.products
            for cell in self.policy.cells
            if cell.offered and product.serves(cell.grade, cell.purpose)
        }
        object.__setattr__(self, "_terms", terms)
        cuts = {
            (product.id, purpose): found
            for product in self.catalogue.products
            for purpose in PURPOSES
            if (found := self._cuts_of(product, purpose)) is not None
        }
        object.__setattr__(self, "_cuts", cuts)

    def grade(self, eta: int) -> Grade:
        """The grade of log-odds in units; who stands on a cut is in the weaker one."""
        return GRADES[bisect_right(self.grade_cuts, eta)]

    def terms(self, product: Product, grade: Grade, purpose: Purpose) -> Terms | None:
        """Conditions of a product for a grade and purpose, or None: not offered."""
        return self._terms.get((product.id, grade, purpose))

    def cuts(self, product: Product, purpose: Purpose) -> tuple[int, int] | None:
        """Where eta is referred and where it is declined, in units; None: sold to nobody.

        A grade in which the product is not offered is declined by the score, as if its
        first PD were the decline cut (credit 3.2, step 6).
        """
        return self._cuts.get((product.id, purpose))

    def _cuts_of(self, product: Product, purpose: Purpose) -> tuple[int, int] | None:
        cuts = self.policy.cuts_of(purpose)
        served = sum((product.id, grade, purpose) in self._terms for grade in GRADES)
        if cuts is None or not served:
            return None
        refer, decline = _cut(cuts.refer_pd), _cut(cuts.decline_pd)
        if served < len(GRADES):
            decline = min(decline, self.grade_cuts[served - 1])
        return min(refer, decline), decline


_cut = lru_cache(maxsize=1_024)(cut_units)
"""A cut takes 50 digits of a logarithm, and a policy has a few of them."""


def terms_of(product: Product, cell: Cell) -> Terms:
    """The narrower of product and cell; ``check_rules`` has seen that it is not empty."""
    return Terms(
        limit=min(cell.limit_max, product.amount[1]),
        least=product.amount[0],
        tenor=(
            max(cell.tenor_months[0], product.tenor_months[0]),
            min(cell.tenor_months[1], product.tenor_months[1]),
        ),
        price=(
            max(cell.price_apr[0], product.price_apr[0]),
            min(cell.price_apr[1], product.price_apr[1]),
        ),
        documents=tuple(dict.fromkeys((*cell.documents, *product.documents))),
    )


# --- reading ----------------------------------------------------------------------------------


def parse_catalogue(data: bytes, source: str) -> Catalogue:
    """Read a catalogue: each of the 40 cells is served, or says why not.

    Raises:
        PolicyError: naming file, line, field, value seen and value expected: a gap, an
            overlap, an inverted range.
    """
    top = read_toml(data, source)
    head = top.table("catalogue")
    span = head.span()
    listed = top.tables("product")
    products: list[Product] = []
    for table in listed:
        product = _product(table)
        for other in products:
            _check_apart(product, other, table)
        products.append(product)
    refused = tuple(one for table in top.tables("not_offered") for one in _not_offered(table))
    catalogue = Catalogue(
        id=head.identifier("id"),
        version=head.identifier("version"),
        currency=head.currency("currency"),
        effective_from=span.start,
        effective_to=span.end,
        products=tuple(products),
        not_offered=refused,
    )
    head.done()
    top.done()
    _check_cells(catalogue, top)
    return catalogue


def _product(table: Table) -> Product:
    product = Product(
        id=table.identifier("id"),
        name_zh=table.text("name_zh"),
        name_en=table.text("name_en"),
        segment=table.choice("segment", Segment),
        repayment=table.choice("repayment", Repayment),
        purposes=table.choices("purposes", Purpose),
        weakest_grade=table.choice("weakest_grade", Grade),
        amount=table.span_of_integers("amount"),
        tenor_months=table.span_of_integers("tenor_months"),
        price_apr=table.span_of_shares("price_apr", "10"),
        fee_share=table.share("fee_share", "0.5", default="0"),
        documents=table.texts("documents"),
    )
    if not product.purposes:
        raise table.refuse("purposes", [], f"some of {', '.join(PURPOSES)}")
    table.done()
    return product


def _not_offered(table: Table) -> list[NotOffered]:
    reason = table.text("reason")
    grades, purposes = table.choices("grades", Grade), table.choices("purposes", Purpose)
    if not grades or not purposes:
        raise table.refuse("grades", list(grades), "at least one grade and one purpose")
    table.done()
    return [NotOffered(grade=g, purpose=p, reason=reason) for g in grades for p in purposes]


def _check_apart(product: Product, other: Product, table: Table) -> None:
    """Two products of one segment may not be the answer to one wish."""
    if product.id == other.id:
        raise table.refuse("id", product.id, "an id that no other product has")
    same = product.segment is other.segment and set(product.purposes) & set(other.purposes)
    close = _meet(product.amount, other.amount)
    if same and close and _meet(product.tenor_months, other.tenor_months):
        expected = f"amounts or tenors apart from those of product {other.id!r}"
        raise table.refuse("amount", list(product.amount), expected)


def _meet(one: Sequence[int], other: Sequence[int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _check_cells(catalogue: Catalogue, top: Table) -> None:
    said = [(one.grade, one.purpose) for one in catalogue.not_offered]
    for grade in GRADES:
        for purpose in PURPOSES:
            products = catalogue.cell(grade, purpose)
            times = said.count((grade, purpose))
            cell = f"the cell of {grade} and {purpose}"
            if not products and times == 0:
                raise top.refuse("product", None, f"a product or not_offered for {cell}")
            if times > 1 or (products and times):
                raise top.refuse("not_offered", f"{grade} {purpose}", f"{cell} said once")


# --- the three together -----------------------------------------------------------------------


def check_rules(pack: Pack, policy: Policy, catalogue: Catalogue) -> Rules:
    """Put a pack, a policy and a catalogue together.

    A policy may be stricter than its pack, never looser, on every day on which the policy is
    in force: on its first, and on each on which a duty begins.

    Raises:
        PolicyError: naming what does not fit, what was seen and what is expected.
    """
    where = f"policy {policy.id} {policy.version}"
    if policy.pack != pack.id:
        raise PolicyError(f"{where}: pack: seen {policy.pack}, expected {pack.id}")
    for name, currency in (("pack", pack.currency), ("catalogue", catalogue.currency)):
        if currency != policy.currency:
            raise PolicyError(
                f"{where}: currency: seen {policy.currency}, expected {currency}, "
                f"that of the {name}"
            )
    for grade in GRADES:
        for purpose in PURPOSES:
            _check_cell(where, policy.cell(grade, purpose), catalogue)
    days = {policy.effective_from, *(one.effective_from for one in pack.duties)}
    for day in sorted(day for day in days if policy.in_force(day)):
        for product in catalogue.products:
            _check_bounds(pack, policy, product, day)
    return Rules(
        pack=pack,
        policy=policy,
        catalogue=catalogue,
        pack_digest=pack.digest,
        policy_digest=policy.digest,
        catalogue_digest=catalogue.digest,
        grade_cuts=tuple(cut_units(text) for text in policy.pd_cuts),
    )


def _check_cell(where: str, cell: Cell, catalogue: Catalogue) -> None:
    place = f"{where}: tier.{cell.grade}.{cell.purpose}"
    products = catalogue.cell(cell.grade, cell.purpose)
    if cell.offered != bool(products):
        seen, sold = ("offered", "nothing") if cell.offered else ("not_offered", "a product")
        raise PolicyError(f"{place}: seen {seen}, expected as the catalogue: it sells {sold}")
    for product in products:
        terms = terms_of(product, cell)
        spans = {
            "limit_max": (terms.least, terms.limit),
            "tenor_months": terms.tenor,
            "price_apr": terms.price,
        }
        for name, (low, high) in spans.items():
            if low > high:
                raise PolicyError(
                    f"{place}: {name}: seen nothing in common with product {product.id!r}, "
                    f"expected a range that meets its own"
                )


def _check_bounds(pack: Pack, policy: Policy, product: Product, day: date) -> None:
    where = f"policy {policy.id} {policy.version}: product {product.id!r}"
    most = pack.amount_cap(day, product.segment)
    if most is not None and product.amount[1] > most:
        raise PolicyError(
            f"{where}: amount: seen {product.amount[1]}, expected at most {most}, "
            f"the cap of pack {pack.id} on {day}"
        )
    longest = pack.bullet_cap(day, product.segment)
    bullet = product.repayment is Repayment.BULLET
    if bullet and longest is not None and product.tenor_months[1] > longest:
        raise PolicyError(
            f"{where}: tenor_months: seen {product.tenor_months[1]}, expected at most "
            f"{longest}, the bullet cap of pack {pack.id} on {day}"
        )
    cap = pack.cost_cap(day, product.segment)
    if cap is None:
        return
    for grade in GRADES:
        for purpose in product.purposes:
            cell = policy.cell(grade, purpose)
            if cell.offered and product.serves(grade, purpose):
                _check_price(where, terms_of(product, cell), product, (pack, cap, day))


def _check_price(
    where: str, terms: Terms, product: Product, bound: tuple[Pack, Ppm, date]
) -> None:
    pack, cap, day = bound
    for months in terms.tenor:
        price = terms.price[1]
        basis = pack.caps.cap_basis
        if not within_cap(price, product.fee_share, months, cap=cap, basis=basis):
            raise PolicyError(
                f"{where}: price_apr: seen {price} millionths with a fee of "
                f"{product.fee_share} over {months} months, expected a cost of at most "
                f"{cap} a year ({basis}), the cap of pack {pack.id} on {day}"
            )


# --- do the tiers hold? -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TierCount:
    """Persons and bads of one grade, or of several that were merged. Private."""

    grades: tuple[Grade, ...]
    persons: int
    bad: int


def merge_thin(
    counts: Sequence[TierCount], least: int = LEAST_PERSONS
) -> tuple[TierCount, ...]:
    """Merge each grade of fewer than ``least`` persons with the next weaker one (row 14).

    The weakest, if thin, merges with the one before it.
    """
    merged: list[TierCount] = []
    waiting: TierCount | None = None
    for count in counts:
        both = count if waiting is None else _sum(waiting, count)
        waiting = both if both.persons < least else None
        if waiting is None:
            merged.append(both)
    if waiting is not None:
        merged.append(_sum(merged.pop(), waiting) if merged else waiting)
    return tuple(merged)


def strictly_worse(counts: Sequence[TierCount]) -> bool:
    """Whether the bad rate rises strictly from each tier to the next."""
    return all(
        one.bad * other.persons < other.bad * one.persons for one, other in pairwise(counts)
    )


def migration(pairs: Sequence[tuple[Grade, Grade]]) -> tuple[tuple[int, ...], ...]:
    """Persons by grade before (rows) and after (columns). Private: counts of one partner."""
    table = [[0] * len(GRADES) for _ in GRADES]
    for before, after in pairs:
        table[GRADES.index(before)][GRADES.index(after)] += 1
    return tuple(map(tuple, table))


def _sum(one: TierCount, other: TierCount) -> TierCount:
    return TierCount(
        (*one.grades, *other.grades), one.persons + other.persons, one.bad + other.bad
    )
