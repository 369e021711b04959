"""Whom this partner asks closure inquiries for, and what it keeps of the answers (7.17)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from consortium.errors import DataError
from consortium.ids import PartnerId, PersonToken
from consortium.inquiries import Purpose
from consortium.manifest import Manifest
from consortium.scoring.closures import COLUMNS, NO_ARM, VERSION, elsewhere
from consortium.scoring.consent import Method
from consortium.scoring.layout import JointSums
from partner_node.asked_persons import Part, Person
from partner_node.closure_table import ClosureTable
from partner_node.credit.standing import PersonStanding
from partner_node.credit.storage_elsewhere import KeptBit
from partner_node.people import People
from partner_node.score_table import Holding, study_threshold
from partner_node.scoring_store import ScoringStore

_HEAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Askable:
    """One own customer who consented. Private."""

    subject: bytes = field(repr=False)
    token: PersonToken = field(repr=False)
    standing: PersonStanding = field(repr=False)
    study: bool

    def asked(self, people: People, expires: int) -> Person:
        """As the others see it; this partner itself adds nothing to the sums."""
        purposes = {Purpose.CLOSURE_SIGNAL}
        reference = self.standing.signal
        if self.study:
            purposes.add(Purpose.IMPACT_STUDY)
            reference = f"{reference}\n{self.standing.study}"
        return Person(
            model=VERSION,
            token=self.token,
            evidence=people.evidence(reference),
            purposes=frozenset(purposes),
            expires=expires,
            notice=1,
            method=Method.RECORDED,
            holding=_NOTHING,
        )


_NOTHING = Holding(
    held=np.zeros(1, dtype=np.bool_),
    logits={},
    covered=np.zeros((1, len(COLUMNS)), dtype=np.bool_),
)


def askable(
    table: ClosureTable, store: ScoringStore, manifest: Manifest, member: PartnerId
) -> list[Askable]:
    """Customers with a token and a consent to CLOSURE_SIGNAL, in the order of their hashes.

    Each is chosen by what is its own alone, as for a study (7.11.2): where the manifest
    declares more customers than may be asked about in a month, by the keyed hash.

    Raises:
        DataError: there are more all the same.
    """
    gone = store.withdrawn_from(Purpose.CLOSURE_SIGNAL)
    no_study = store.withdrawn_from(Purpose.IMPACT_STUDY)
    policy = manifest.policy.scoring
    most = policy.studies_per_release
    limit = int(study_threshold(most, dict(policy.customers).get(member, 0)))
    found = [
        Askable(
            subject=subject,
            token=PersonToken(table.tokens[subject]),
            standing=one,
            study=bool(one.study) and subject not in no_study,
        )
        for subject, one in table.persons.items()
        if one.signal
        and subject in table.tokens
        and subject not in gone
        and int.from_bytes(subject[:_HEAD], "big") <= limit
    ]
    if len(found) > most:
        raise DataError(
            f"more customers may be asked about than studies_per_release = {most}, and "
            "policy.scoring.customers declares fewer"
        )
    return found


def bits_of_parts(
    persons: Sequence[Askable], parts: Sequence[Part], today: date
) -> list[KeptBit]:
    """What is kept: a bit, and an arm with consent to the study. The sums are dropped."""
    kept = []
    for person, part in zip(persons, parts, strict=True):
        sums = part.sums
        row = slice(part.place, part.place + 1)
        alone = JointSums(
            columns=sums.columns,
            logits=sums.logits[row],
            counts=sums.counts[row],
            partners=sums.partners[row],
        )
        found = elsewhere(alone, study=np.array([person.study]))
        arm = int(found.arms[0])
        kept.append(
            KeptBit(
                subject=person.subject,
                closed=bool(found.closed[0]),
                on=today,
                arm=None if arm == NO_ARM else arm,
                arm_on=None if arm == NO_ARM else today,
            )
        )
    return kept
