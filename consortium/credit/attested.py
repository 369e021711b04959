"""An attested history as features of a family of its own, with bins of its own (row 11).

A lender that is shown a valid attestation adds what the family ``attestation`` of the served
model says of its bands: a trained weight for each band, and nothing for what is not attested.
The family is trained from what each partner would attest of its own customers, and counts
where it was shown and nowhere else: a holder's own history is in its own families, so in an
answer to others its attestation would be said twice (protocol 7.18).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from consortium.credit.attestation import (
    Attestation,
    CauseClass,
    DpdBand,
    MonthsBand,
    UtilisationBand,
)
from consortium.errors import AttestationError
from consortium.features.concepts import Concept
from consortium.ids import Digest, PartnerId
from consortium.scoring.premium import ATTESTATION

PREFIX = "attested_"
"""Of all these features; no other feature's name begins with it."""
FEATURES: Mapping[str, tuple[str, ...]] = {
    "attested_months": tuple(MonthsBand),
    "attested_worst_dpd": tuple(DpdBand),
    "attested_utilisation": tuple(UtilisationBand),
    "attested_cause": tuple(CauseClass),
}
"""Feature -> its categories, in the order of their bins; all of the family."""

_CONCEPTS: Mapping[str, Concept] = {
    "attested_months": Concept.HISTORY_LENGTH,
    "attested_worst_dpd": Concept.ARREARS,
    "attested_utilisation": Concept.UTILISATION,
    "attested_cause": Concept.LINE_CLOSURE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedFacts:
    """A verified attestation as a decision remembers it. Private.

    Neither the pseudonym nor the signature: with the digest the paper is found again, and with
    the list it is shown that the paper was not revoked as far as anybody could know.
    """

    digest: Digest
    issuer: PartnerId
    issued_on: date
    expires_on: date
    months: MonthsBand
    worst_dpd: DpdBand
    utilisation: UtilisationBand
    cause: CauseClass
    listing: Digest
    """The issuer's list that was looked at, as the log holds it."""
    number: int
    """Of that list."""
    listed_on: date
    scored: bool
    """Whether the score has it; else it was shown, and something spoke against it."""


def refuse_plain(names: Iterable[str]) -> None:
    """Raise AttestationError, rule ``plain``, if an attribute says what only a paper may."""
    for name in names:
        if name.startswith(PREFIX):
            raise AttestationError(
                f"attributes: {name[:64]!r} is what a signed history says: bring the "
                "attestation, from which it is read",
                rule="plain",
            )


def features_of(attestation: Attestation) -> dict[str, str]:
    """The features of one attestation, as an applicant's attributes are given.

    Whether it is valid is ``attestation.check_attestation``'s to say, before this.
    """
    return {
        "attested_months": attestation.months.value,
        "attested_worst_dpd": attestation.worst_dpd.value,
        "attested_utilisation": attestation.utilisation.value,
        "attested_cause": attestation.cause.value,
    }


def schema_lines(names: tuple[str, ...] = tuple(FEATURES), *, reason: str) -> str:
    """The TOML of these features for a schema file; all edges are public."""
    parts = []
    for name in names:
        listed = ", ".join(f'"{category}"' for category in FEATURES[name])
        parts.append(
            f'[[feature]]\nname = "{name}"\nfamily = "{ATTESTATION}"\nkind = "category"\n'
            f'unit = "band of a signed history"\nconcept = "{_CONCEPTS[name].value}"\n'
            f'categories = [{listed}]\nreason = "{reason}"\n'
        )
    return "\n".join(parts)
