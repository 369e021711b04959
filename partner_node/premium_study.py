"""The premium of this partner's own customers: whom it asks for, and the own part (7.18).

Joint sums that a head was trained on will not do: they are of another consent, they want a
label, and two thirds of them may stand without the own part already. So the serving process
asks anew, under IMPACT_STUDY, takes the own part out of what it has in memory, and hands the
training process the log-odds before and after. Nothing of it is in a file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from consortium.errors import DataError
from consortium.ids import PartnerId, PersonToken
from consortium.inquiries import Purpose
from consortium.manifest import Manifest
from consortium.scoring.consent import Method
from consortium.scoring.head import Head
from consortium.scoring.layout import JointSums, encode_holding
from consortium.scoring.premium import (
    ATTESTATION,
    Impact,
    OwnPart,
    premium_of,
    with_attested,
    without_part,
)
from partner_node.asked_persons import Part, Person
from partner_node.closure_table import ClosureTable
from partner_node.customer_index import Bytes16
from partner_node.people import SUBJECT_BYTES, People
from partner_node.score_table import ScoreTable, study_threshold
from partner_node.scoring_store import ScoringStore

_HASH_HEAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Own customers with a token and a consent to IMPACT_STUDY. Private."""

    tokens: Bytes16 = field(repr=False)
    """Shape (n, 16)."""
    references: Sequence[str] = field(repr=False)
    """Of the consent of each."""

    def persons(
        self, people: People, table: ScoreTable, part: slice, expires: int
    ) -> Iterable[Person]:
        """Some of them as the others see them."""
        tokens = self.tokens[part]
        holding = table.lookup(tokens)
        for place, reference in enumerate(self.references[part]):
            yield Person(
                model=table.version,
                token=PersonToken(tokens[place].tobytes()),
                evidence=people.evidence(reference),
                purposes=frozenset({Purpose.IMPACT_STUDY}),
                expires=expires,
                notice=1,
                method=Method.RECORDED,
                holding=holding.of(place),
            )


def affected(
    lines: ClosureTable,
    table: ScoreTable,
    store: ScoringStore,
    *,
    manifest: Manifest,
    member: PartnerId,
) -> Asked:
    """Whose premium is asked for, in the order of their keyed hashes.

    Consents are those of the table of lines, of persons that the score's table has too. Each
    is chosen by what is its own alone, as for every study (protocol 7.11.2).

    Raises:
        DataError: nobody, or more than ``studies_per_release`` all the same.
    """
    gone = store.withdrawn_from(Purpose.IMPACT_STUDY)
    policy = manifest.policy.scoring
    most = policy.studies_per_release
    limit = int(study_threshold(most, dict(policy.customers).get(member, 0)))
    listed = [
        (lines.tokens[subject], one.study)
        for subject, one in lines.persons.items()
        if one.study
        and subject in lines.tokens
        and subject not in gone
        and int.from_bytes(subject[:_HASH_HEAD], "big") <= limit
    ]
    joined = b"".join(token for token, _ in listed)
    tokens = np.frombuffer(joined, dtype=np.uint8).reshape(-1, SUBJECT_BYTES)
    held = np.flatnonzero(table.lookup(tokens).held) if listed else np.zeros(0, dtype=np.int64)
    if not len(held):
        raise DataError(
            "no customer has a pseudonym (riskweave node tokenize) and a consent to impact "
            "studies (study_consent in lines.toml)"
        )
    if len(held) > most:
        raise DataError(
            f"more customers may be asked about than studies_per_release = {most}, and "
            "policy.scoring.customers declares fewer"
        )
    return Asked(tokens=tokens[held], references=[listed[place][1] for place in held.tolist()])


def own_part(table: ScoreTable, tokens: Bytes16) -> OwnPart:
    """This partner's own part of the sums of these persons, as it was added. Private."""
    holding = table.lookup(tokens)
    words = encode_holding(
        table.layout, dict(holding.logits), holding.held, allowed=holding.covered
    )
    plain = words.view(np.int64)[:, : 2 * len(table.layout.columns)]
    logits, counts = np.ascontiguousarray(plain[:, ::2]), np.ascontiguousarray(plain[:, 1::2])
    return OwnPart(logits=logits, counts=counts)


def joined_sums(found: Sequence[Part]) -> JointSums:
    """The sums of each person's own place in the answers, in the persons' order."""
    return JointSums(
        columns=found[0].sums.columns,
        logits=np.stack([one.sums.logits[one.place] for one in found]),
        counts=np.stack([one.sums.counts[one.place] for one in found]),
        partners=np.array([one.sums.partners[one.place] for one in found]),
    )


def impact_from(head: Head, sums: JointSums, table: ScoreTable, tokens: Bytes16) -> Impact:
    """What the loss of the own part costs, and the outcomes that this partner has. Private.

    Args:
        head: In force.
        sums: Joint sums, in the order of ``tokens``.
        table: This partner's own rows.
        tokens: Of persons that it holds, shape (n, 16).

    Raises:
        ShapeError, DomainError: as ``without_part`` and ``premium_of``.
    """
    rows, customers = table.rows_of(tokens), table.customers
    left = without_part(sums, own_part(table, tokens))
    attested = None
    if ATTESTATION in head.families:
        everybody = np.ones(len(rows), dtype=np.bool_)
        shown = with_attested(left, table.attested(rows), everybody)
        attested = premium_of(head, sums, shown).after
    return Impact(
        premium=premium_of(head, sums, left),
        labels=customers.labels[rows],
        holdout=customers.holdout[rows],
        attested=attested,
    )
