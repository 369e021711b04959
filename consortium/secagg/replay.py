"""An upload made again from its parts, and which part is another if it differs (protocol 9.4).

Seed, JOINs and the exact sum of the rows make one upload and no other, so whoever has them can
tell whether the words that left were those. The owner does it with its own keys; the regulator
with the mask keys of single attempts, and with no learning code. Nothing here is drawn, kept
or sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import AgreementKey, Secret
from consortium.crypto.pairwise import (
    OwnKeys,
    PeerKeys,
    apply_masks,
    ephemeral_key,
    pair_key,
)
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest
from consortium.messages import Join, SumRequest
from consortium.plan import Algorithm, ModelKind, ReleaseKind, TrainingPlan
from consortium.privacy.noise import noise_share
from consortium.secagg.chain import chain_length, link
from consortium.secagg.context import context_of, joined_context
from consortium.secagg.joins import seed_commitment
from consortium.secagg.ring import to_ring
from consortium.secagg.uploads import words_digest

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

TOLERANCE = 1 << 18
"""Q/64: how far a dense net's coordinate may be off on another machine (protocol 9.4)."""
_LARGEST = 1 << 56
"""No honest sum with its noise comes near it; uniform words leave it at once (3.4.6)."""
_INSIDE = "the noise is inside private steps, and was made with the rows"
_SURE = 6.0
"""Standard errors at which a correlation with the noise counts as told."""


class Part(StrEnum):
    """What an upload is made of."""

    SEED = "seed"
    """The seed, its commitment and the head of its chain."""
    JOIN = "join"
    """Context, one-time key and link of the attempt, and the context of all JOINs."""
    ROWS = "rows"
    """The exact sum over the rows: clipping, rounding, bins, or other rows."""
    NOISE = "noise"
    MASK = "mask"
    WORDS = "words"
    """The words are others, and what is kept does not tell why."""


class Outcome(StrEnum):
    """What the replay of one attempt came to, the best first."""

    EQUAL = "equal"
    """To the bit."""
    NEAR = "near"
    """Within the tolerance of dense nets, in every coordinate."""
    INCOMPLETE = "incomplete"
    """A part could not be made again; the others are as they must be."""
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllJoins:
    """The JOINs of one attempt, as they are kept."""

    joins: tuple[Join, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a member signed before the run: the log's ``run.commit``. Public."""

    seed: Digest
    chain_head: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRecord:
    """One upload as it was signed. Public, but for ``kept``."""

    request: SumRequest
    joins: tuple[Join, ...]
    joined: Digest
    """rctx of the log's ``round.upload``."""
    words: Digest
    """Of the words, likewise."""
    kept: Words | None = None
    """The words themselves, if they were kept: with them a difference can be placed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The sum over the rows, before noise. Private."""

    values: Integers = field(repr=False)
    held: Flags
    """Coordinates that the member's rows can move."""
    same_rows: bool = True
    """Whether the rows are those of the run, as far as the member can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One member's secrets of one run, on its own premises."""

    plan: TrainingPlan
    manifest: Digest
    member: PartnerId
    seed: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """On one attempt: digests and words, nothing of a row."""

    request: SumRequest
    joined: Digest
    logged: Digest
    made: Digest | None
    """Digest of the words as made again; None if they could not be."""
    outcome: Outcome
    parts: tuple[Part, ...] = ()
    """What is another, or could not be made, as far as can be told."""
    text: str = ""


def seed_faults(opened: Opened, committed: Committed) -> str:
    """Why the seed is not the one that was committed to; empty if it is."""
    run, length = opened.plan.run, chain_length(opened.plan)
    if seed_commitment(run, opened.member, opened.seed) != committed.seed:
        return "the seed is not the one that was committed to before the run"
    if link(opened.seed, length, 0) != committed.chain_head:
        return "the chain of links was made from another seed"
    return ""


def join_faults(opened: Opened, record: OnRecord) -> str:
    """Why the attempt's JOINs do not make its rctx with this seed; empty if they do."""
    request, seed = record.request, opened.seed
    context = context_of(request, opened.manifest)
    own = [one for one in record.joins if one.member == opened.member]
    if sorted(one.member for one in record.joins) != list(request.roster) or not own:
        return "not one JOIN of each member of the roster"
    if any(one.context != context for one in record.joins):
        return "a JOIN is for another request"
    if own[0].ephemeral != ephemeral_key(seed, context).public:
        return "the one-time key was chosen, not derived from the seed"
    length = chain_length(opened.plan)
    if not 1 <= own[0].count <= length or own[0].link != link(seed, length, own[0].count):
        return "the link is not that of the seed"
    if joined_context(context, record.joins) != record.joined:
        return "the words were bound to other JOINs"
    return ""


def mask_keys(
    opened: Opened, record: OnRecord, manifest: Manifest, agreement: AgreementKey
) -> Mapping[PartnerId, Secret]:
    """The pair keys of one attempt, at the member itself (protocol 3.4.1). Secret."""
    context = context_of(record.request, opened.manifest)
    own = OwnKeys(
        member=opened.member,
        ephemeral=ephemeral_key(opened.seed, context),
        agreement=agreement,
    )
    keys = {}
    for join in record.joins:
        if join.member != opened.member:
            lasting = bytes.fromhex(manifest.member(join.member).agreement)
            peer = PeerKeys(member=join.member, ephemeral=join.ephemeral, agreement=lasting)
            keys[join.member] = pair_key(own, peer, joined=record.joined)
    return keys


def is_noise_added(plan: TrainingPlan, kind: ReleaseKind) -> bool:
    """Whether the noise is added to the sum; else it is inside private steps (4.8)."""
    return plan.algorithm is Algorithm.SUM or kind is not ReleaseKind.GRADIENT


def noise_of(opened: Opened, record: OnRecord, held: Flags) -> Integers:
    """The member's noise in one attempt (protocol 3.5.2, 3.4.8). Secret."""
    request, plan = record.request, opened.plan
    noise = np.zeros(request.dimension, dtype=np.int64)
    if is_noise_added(plan, request.kind):
        # Shared noise lies on the whole sum, on the blocks of others, too.
        places = held if plan.noise_mode == "own" else np.ones_like(held)
        noise[places] = noise_share(
            opened.seed,
            record.joined,
            variance=int(request.variance),
            count=int(places.sum()),
        )
    return noise


def replay(
    opened: Opened,
    record: OnRecord,
    exact: Exact | None,
    keys: Mapping[PartnerId, Secret] | None,
) -> Verdict:
    """Make one upload again and compare it with the one that was signed.

    Args:
        opened: Plan, manifest, member and seed.
        record: What was asked, joined, and signed.
        exact: The sum over the rows; None: it cannot be made here.
        keys: Mask keys of the attempt; None: they cannot be made here.
    """
    if fault := join_faults(opened, record):
        return _verdict(record, None, Outcome.DIFFERS, (Part.JOIN,), fault)
    if keys is None:
        text = "the agreement key of the run is gone: masks cannot be made again"
        return _verdict(record, None, Outcome.INCOMPLETE, (Part.MASK,), text)
    masks = np.zeros(record.request.dimension, dtype=np.uint64)
    apply_masks(masks, opened.member, keys)
    if exact is None:
        return _without_rows(opened, record, masks)
    noise = noise_of(opened, record, exact.held)
    made = to_ring(exact.values + noise) + masks
    digest = words_digest(made)
    if digest == record.words:
        inside = "" if is_noise_added(opened.plan, record.request.kind) else _INSIDE
        return _verdict(record, digest, Outcome.EQUAL, (), inside)
    if record.kept is None or words_digest(record.kept) != record.words:
        text = "the words were not kept: which part is another cannot be told"
        if not exact.same_rows:
            text = "the rows are not those of the run any more, and the words were not kept"
        outcome = Outcome.DIFFERS if exact.same_rows else Outcome.INCOMPLETE
        return _verdict(record, digest, outcome, (Part.WORDS,), text)
    bare = (record.kept - masks).view(np.int64)
    outcome, parts, text = _placed(opened, record.request, exact, (bare, noise))
    return _verdict(record, digest, outcome, parts, text)


def _verdict(  # noqa: PLR0917 - the fields that differ
    record: OnRecord,
    made: Digest | None,
    outcome: Outcome,
    parts: tuple[Part, ...],
    text: str,
) -> Verdict:
    return Verdict(
        request=record.request,
        joined=record.joined,
        logged=record.words,
        made=made,
        outcome=outcome,
        parts=parts,
        text=text,
    )


def _outside(values: Integers, bound: int) -> bool:
    return bool(((values > bound) | (values < -bound)).any())


def _lattice(request: SumRequest) -> int:
    """Counts are whole multiples of this; a gradient's sum is of 1."""
    return 1 if request.kind is ReleaseKind.GRADIENT else 1 << request.scale_bits


def _without_rows(opened: Opened, record: OnRecord, masks: Words) -> Verdict:
    """What can be said of masks and noise alone, from the words that were kept."""
    text = "the rows of this sum cannot be read again"
    parts: tuple[Part, ...] = (Part.ROWS,)
    request = record.request
    if record.kept is None or words_digest(record.kept) != record.words:
        return _verdict(record, None, Outcome.INCOMPLETE, (*parts, Part.WORDS), text)
    bare = (record.kept - masks).view(np.int64)
    if _outside(bare, _LARGEST):
        told = "the masks are not those of the JOINs"
        return _verdict(record, None, Outcome.DIFFERS, (Part.MASK,), told)
    # A member without rows that count, and counts of others, have a form to be held against.
    noise = noise_of(opened, record, np.ones(request.dimension, dtype=np.bool_))
    step = _lattice(request)
    if step > 1 and bool(((bare - noise) % step).any()):
        told = "without the noise of the seed the sum is none of counts"
        return _verdict(record, None, Outcome.DIFFERS, (Part.NOISE,), told)
    text += "; masks are those of the JOINs" + (
        ", and the noise is that of the seed" if step > 1 else "; noise and rows are not told"
    )
    return _verdict(record, None, Outcome.INCOMPLETE, parts, text)


def _placed(
    opened: Opened,
    request: SumRequest,
    exact: Exact,
    seen: tuple[Integers, Integers],
) -> tuple[Outcome, tuple[Part, ...], str]:
    """Where words that differ are other than they must be.

    Args:
        opened: The run.
        request: The attempt.
        exact: The sum over the rows, as made again.
        seen: The words as they left without their masks, and the noise of the seed.
    """
    bare, noise = seen
    if _outside(bare, _LARGEST):
        return Outcome.DIFFERS, (Part.MASK,), "the masks are not those of the JOINs"
    off = bare - exact.values - noise
    step = _lattice(request)
    dense = opened.plan.model is ModelKind.MLP
    if dense and not _outside(off, TOLERANCE) and not bool((off % step).any()):
        text = "a dense net on another machine: every coordinate is within 2**18"
        return Outcome.NEAR, (), text
    told = _noise_is_right(exact.held, off, noise, step=step)
    if told is False:
        text = "the noise is not that of seed and context"
        return Outcome.DIFFERS, (Part.NOISE,), text
    if not exact.same_rows:
        text = "the rows are not those of the run any more"
        return Outcome.INCOMPLETE, (Part.ROWS,), text
    if told is None:
        return Outcome.DIFFERS, (Part.ROWS, Part.NOISE), "the noisy sum is another"
    return (
        Outcome.DIFFERS,
        (Part.ROWS,),
        "not the clipped sum over the rows, which are the same",
    )


def _noise_is_right(held: Flags, off: Integers, noise: Integers, *, step: int) -> bool | None:
    """Whether what the words are off by lies in the rows' part; None: it cannot be told."""
    if bool(noise[~held].any()):
        # Shared noise lies where the member holds nothing, and nothing else does.
        return not bool(off[~held].any())
    if step > 1:
        return not bool((off % step).any())
    if bool(noise.any()) and np.array_equal(off, -noise):
        return False  # there is none at all
    # Everything is held: noise that is inside shows in its correlation with the words.
    z, e = noise[held].astype(np.float64), off[held].astype(np.float64)
    power = float(z @ z)
    error = float((e @ e) / (power * len(z))) ** 0.5 if power else 0.0
    inside = 1.0 + float(e @ z) / power if power else 1.0
    near, far = abs(inside - 1.0) < _SURE * error, abs(inside) < _SURE * error
    if near == far:
        return None
    return near
