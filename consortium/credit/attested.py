"""An attested history as features of a family of its own, with bins of its own (row 11).

A lender that is shown a valid attestation adds what the family ``attestation`` of the served
model says of its bands: a trained weight for each band, and nothing for what is not attested.
The family is trained from what each partner would attest of its own customers, and counts
where it was shown and nowhere else: a holder's own history is in its own families, so in an
answer to others its attestation would be said twice (protocol 7.18).
"""

from collections.abc import Mapping

from consortium.credit.attestation import (
    Attestation,
    CauseClass,
    DpdBand,
    MonthsBand,
    UtilisationBand,
)
from consortium.features.concepts import Concept
from consortium.scoring.premium import ATTESTATION

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
