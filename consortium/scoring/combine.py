"""The asker's side: from answers to sums, from sums to a joint logit (protocol 7.6, 7.7).

Every answer is checked before the sum is: a wrong one is pinned on its signer, and a missing
one leaves masks in the sum that nobody can take out.
"""

from collections.abc import Iterable

import numpy as np

from consortium.canonical import Label
from consortium.crypto.pairwise import apply_masks
from consortium.errors import ScoreRefusal, ScoreRefusalError, ShapeError, SignatureError
from consortium.ids import PartnerId
from consortium.inquiries import ScoreAnswer
from consortium.scoring.head import STRATA, Head
from consortium.scoring.inquiry import AskerSecrets
from consortium.scoring.layout import TOTAL, Integers, JointSums, Layout, Words, decode
from consortium.scoring.pairs import PairCache

BANDS = ("0", "1", "2", "3+")
"""Coverage bands by N_any, the asker's own holding included (protocol 7.10)."""

_WORD_BYTES = 8
_LOW_BITS, _HALF_BITS = 32, 16


def combine(
    secrets: AskerSecrets,
    answers: Iterable[ScoreAnswer],
    own: Words,
    *,
    layout: Layout,
    keys: PairCache,
) -> JointSums:
    """The sums over all members of U, the asker's own words included (protocol 7.6).

    Args:
        secrets: Of the request; worthless afterwards.
        answers: As handed over by the coordinator, in any order.
        own: The asker's ``encode_holding``, shape (n, D), not masked. Private.
        layout: Of the model that was asked for.
        keys: The asker's.

    Raises:
        ScoreRefusalError: a partner gave no answer (S18, names them); an answer is by nobody
            who was asked, doubled, for another request, of another size or not signed by
            its member (S17, names it); the sum is impossible (S17).
        ShapeError: ``own`` does not fit. Fault: ours.
    """
    inquiry = secrets.inquiry
    if own.shape != (inquiry.persons, layout.words) or own.dtype != np.uint64:
        raise ShapeError(f"own words {own.dtype} {own.shape} for {inquiry.persons} persons")
    found = _by_member(secrets, answers, size=own.size * _WORD_BYTES)
    bound = bytes.fromhex(secrets.context)
    total = own.reshape(-1).copy()
    apply_masks(total, keys.me, secrets.masks)
    for name, given in found.items():
        try:
            verify = keys.asked(name).verify
            verify.verify(Label.SCORE_ANSWER, bound + given.words, given.signature)
        except SignatureError as error:
            raise _wrong(name, "its signature") from error
        total += np.frombuffer(given.words, dtype="<u8")
    return decode(layout, total.reshape(own.shape), len(inquiry.roster))


def _by_member(
    secrets: AskerSecrets, answers: Iterable[ScoreAnswer], *, size: int
) -> dict[PartnerId, ScoreAnswer]:
    found: dict[PartnerId, ScoreAnswer] = {}
    for given in answers:
        if given.member not in secrets.masks or given.member in found:
            raise _wrong(given.member, "nobody who was asked, or a second one")
        if given.context != secrets.context:
            raise _wrong(given.member, "for another request")
        if len(given.words) != size:
            raise _wrong(given.member, f"{len(given.words)} bytes, expected {size}")
        found[given.member] = given
    missing = sorted(secrets.masks.keys() - found.keys())
    if missing:
        raise ScoreRefusalError(ScoreRefusal.INCOMPLETE, f"no answer of {', '.join(missing)}")
    return found


def _wrong(member: PartnerId, detail: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.ANSWER, f"answer of {member}: {detail}")


def band_of(partners: int) -> str:
    """The coverage band of N_any contributors."""
    return BANDS[min(partners, len(BANDS) - 1)]


def family_logits(sums: JointSums) -> Integers:
    """``z_f = L_f // max(1, N_f)``, shape (n, F), units: holders are averaged, rounded down."""
    logits: Integers = sums.logits // np.maximum(sums.counts, 1)
    return logits


def strata_of(sums: JointSums) -> Integers:
    """Covered families, at most 3, shape (n,); contributors where only totals are summed."""
    if sums.columns == (TOTAL,):
        covered = sums.counts[:, 0]
    else:
        covered = np.count_nonzero(sums.counts, axis=1)
    strata: Integers = np.minimum(covered, STRATA)
    return strata


def joint_eta(head: Head, sums: JointSums) -> tuple[Integers, Integers]:
    """Log-odds of bad after the head, and the stratum (protocol 7.7).

    ``eta = alpha_s + Σ_f ((beta_sf · z_f) >> 32)``, each term rounded down; where no family
    is covered, the base alone. Exact for all heads and sums within their bounds.

    Returns:
        Two arrays of shape (n,), int64: eta in units, and s from 0 to 3. Private.

    Raises:
        ShapeError: the head is of other families.
    """
    if head.families != sums.columns:
        raise ShapeError(f"head of {head.families} for sums of {sums.columns}")
    strata = strata_of(sums)
    alpha = np.array((head.base, *head.alpha), dtype=np.int64)
    beta = np.array(((0,) * len(head.families), *head.beta), dtype=np.int64)
    eta = alpha[strata] + scaled(beta[strata], family_logits(sums)).sum(axis=1)
    return eta, strata


def scaled(beta: Integers, logits: Integers) -> Integers:
    """``(beta · z) >> 32`` rounded down, though the product has up to 77 bits.

    With ``beta = b·2**32 + c`` and ``z = y·2**16 + x`` (c, x not negative) it is
    ``b·z + ((c·y + (c·x >> 16)) >> 16)``, where no term leaves 63 bits.
    """
    high, low = beta >> _LOW_BITS, beta & ((1 << _LOW_BITS) - 1)
    above, below = logits >> _HALF_BITS, logits & ((1 << _HALF_BITS) - 1)
    rest = (low * above + (low * below >> _HALF_BITS)) >> _HALF_BITS
    scaled: Integers = high * logits + rest
    return scaled
