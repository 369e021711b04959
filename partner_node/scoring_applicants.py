"""Applicants as this partner alone knows them: codes, own logits, what a history adds.

A customer is looked up by its keyed hash; of anybody else the attributes count that the desk
brought. Customers of one question are looked up together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partner_node.answers import Applicant
from partner_node.carried import Carried, carried_of
from partner_node.customers import Codes
from partner_node.score_table import Holding, ScoreTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One applicant, checked. Private."""

    applicant: Applicant
    x: bytes = field(repr=False)
    codes: Mapping[str, int] = field(repr=False)
    """Of the own attributes or the own row, by feature; empty: there are none."""
    eta: int = field(repr=False)
    """This partner's own log-odds of the person, units; 0 while it has no table."""
    own: Mapping[str, int] = field(repr=False)
    """Logits of the families that this partner holds of the person, units."""
    holding: Holding | None = field(repr=False)
    """Arrays of one; None while this node has no table."""
    table: ScoreTable | None = field(repr=False)
    """Of which codes and holding are."""
    carried: Carried | None = field(default=None, repr=False)
    """What a history that the person showed adds; None without one that the model knows."""


def asked_of(
    table: ScoreTable | None,
    applicants: Sequence[Applicant],
    xs: Sequence[bytes],
    subjects: Sequence[bytes],
) -> list[Asked]:
    """All applicants as this partner knows them; customers are looked up together.

    Raises:
        DataError: an attribute that is not of its form.
    """
    given = [one for one in range(len(applicants)) if applicants[one].attributes is not None]
    known = [one for one in range(len(applicants)) if applicants[one].attributes is None]
    if table is None:
        return [
            Asked(applicant=one, x=x, codes={}, eta=0, own={}, holding=None, table=None)
            for one, x in zip(applicants, xs, strict=True)
        ]
    found: dict[int, Asked] = {}
    if known:
        joined = b"".join(subjects[one] for one in known)
        keys = np.frombuffer(joined, dtype=np.uint8).reshape(len(known), -1)
        rows, holding = table.own(keys)
        about = _Own(table, table.codes_of(rows), holding, known=holding.held)
        for place, one in enumerate(known):
            found[one] = about.asked(place, applicants[one], xs[one])
    for one in given:
        codes = table.encode(applicants[one].attributes or {})
        about = _Own(table, codes, table.own_of_codes(codes), known=np.ones(1, dtype=np.bool_))
        found[one] = about.asked(0, applicants[one], xs[one])
    return [found[one] for one in range(len(applicants))]


class _Own:
    """What this partner knows of several persons, as plain numbers. Private."""

    def __init__(
        self, table: ScoreTable, codes: Codes, holding: Holding, *, known: NDArray[np.bool_]
    ) -> None:
        """``known``: whose codes count; of others the base alone is said."""
        self._table = table
        self._names, self._base = table.columns, table.serving.base
        self._holding, self._known, self._rows = holding, known.tolist(), codes
        self._codes, self._eta = codes.tolist(), table.local(codes).tolist()
        self._parts: list[tuple[str, list[bool], list[int]]] = [
            (
                name,
                (holding.held & holding.covered[:, place]).tolist(),
                holding.logits[name].tolist(),
            )
            for place, name in enumerate(table.layout.families)
            if name in holding.logits
        ]

    def asked(self, place: int, applicant: Applicant, x: bytes) -> Asked:
        """One of them."""
        known = self._known[place]
        codes = self._rows[place : place + 1] if known else self._table.nothing()
        return Asked(
            applicant=applicant,
            x=x,
            carried=carried_of(self._table, codes, applicant.shown),
            codes=dict(zip(self._names, self._codes[place], strict=True)) if known else {},
            eta=self._eta[place] if known else self._base,
            own={name: logits[place] for name, held, logits in self._parts if held[place]},
            holding=self._holding.of(place),
            table=self._table,
        )
