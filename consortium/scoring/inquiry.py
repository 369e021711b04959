"""Sealing a score request and opening it (protocol 7.3, 7.5).

The clear part is signed and names the digests of all that is sealed; the coordinator reads it
to relay the request. Tokens and receipts are sealed to the responders. The one-time key is
gone when ``seal_inquiry`` returns: what is left of it are the keys of the masks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consortium.canonical import Label, hash_with, lp
from consortium.crypto.keys import AgreementKey, Secret, hkdf
from consortium.errors import ScoreRefusal, ScoreRefusalError, SignatureError
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Inquiry, Purpose, ScoreRequest, Wrap
from consortium.manifest import Disclosure
from consortium.scoring import consent
from consortium.scoring.clear import context_of, inquiry_bytes, parse_inquiry
from consortium.scoring.closures import VERSION as CLOSURES
from consortium.scoring.consent import RECEIPT_BYTES, Receipts
from consortium.scoring.layout import Layout
from consortium.scoring.pairs import PairCache, exchange, mask_key, wrap_key
from consortium.scoring.roster import Rosters, check_members

LONGEST_DEADLINE = 60_000
"""Milliseconds ahead; request ids are remembered for as long (protocol 7.5)."""

TAG_BYTES = 16
_KEY_BYTES = 32
_NONCE = bytes(12)
"""Each key encrypts once (protocol 7.3)."""

_EPHEMERAL_INFO = b"riskweave/score-eph/v1"
_SEAL_INFO = b"riskweave/score-seal/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an asker decides of a request before it is sealed. Public."""

    request: RequestId
    """16 fresh bytes."""
    roster: tuple[PartnerId, ...]
    """U, sorted, the asker included."""
    roster_version: int
    model: Digest
    purpose: Purpose
    deadline: int
    """Milliseconds since 1970, UTC."""
    retry_of: RequestId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskerSecrets:
    """What the asker keeps until the answers are there, and then drops."""

    context: Digest
    """sctx. Public."""
    inquiry: Inquiry
    masks: Mapping[PartnerId, Secret] = field(repr=False)
    """Mask key shared with each responder. Secret, used once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInquiry:
    """A request that a responder has checked and opened. Private."""

    context: Digest
    """sctx. Public."""
    inquiry: Inquiry
    layout: Layout
    """Of the model that is asked for."""
    receipts: Receipts = field(repr=False)
    """All valid for this inquiry; with the tokens."""
    fresh: Secret = field(repr=False)
    """``X25519(x_i, E)``."""


def seal_inquiry(
    keys: PairCache, terms: Terms, receipts: bytes, *, entropy: Secret
) -> tuple[ScoreRequest, AskerSecrets]:
    """One request to all members of ``terms.roster`` (protocol 7.3).

    Leaves the node: the request. From it the coordinator learns who asks whom for how many
    persons under which model, and nothing of the persons; the responders learn the tokens.

    Args:
        keys: The asker's.
        terms: What is asked of whom.
        receipts: ``consent.pack`` of 1 to 256 receipts, each with its token. Private.
        entropy: 32 fresh bytes for this request alone. Secret.

    Raises:
        ScoreRefusalError: the receipts are no whole number of records (S11); a member of
            the roster is no other active partner (S02).
    """
    consents = consent.unpack(receipts, len(receipts) // RECEIPT_BYTES)
    request = bytes.fromhex(terms.request)
    one_time = AgreementKey.from_secret(hkdf(entropy, request, _EPHEMERAL_INFO))
    seal = hkdf(entropy, request, _SEAL_INFO)
    bound = _bound(keys.digest, terms.request, keys.me, one_time.public)
    sealed = AESGCM(seal.expose()).encrypt(_NONCE, receipts, bound)
    inquiry = Inquiry(
        request=terms.request,
        requester=keys.me,
        ephemeral=one_time.public,
        roster=terms.roster,
        roster_version=terms.roster_version,
        model=terms.model,
        purpose=terms.purpose,
        persons=len(consents),
        deadline=terms.deadline,
        consents=consent.receipts_digest(receipts),
        sealed=hash_with(Label.SCORE_SEALED, sealed),
        retry_of=terms.retry_of,
    )
    clear = inquiry_bytes(inquiry)
    context = context_of(clear, keys.digest)
    wraps, masks = [], {}
    for name in terms.roster:
        if name == keys.me:
            continue
        peer = keys.peer(name)
        fresh = exchange(one_time, peer.agreement)
        key = wrap_key(peer, request, fresh, asker=keys.me, responder=name)
        wrapped = AESGCM(key.expose()).encrypt(_NONCE, seal.expose(), None)
        wraps.append(Wrap(member=name, key=wrapped))
        masks[name] = mask_key(peer, context, fresh)
    signature = keys.identity.sign(Label.SCORE_REQUEST, bytes.fromhex(context))
    sent = ScoreRequest(inquiry=clear, sealed=sealed, wraps=tuple(wraps), signature=signature)
    return sent, AskerSecrets(context=context, inquiry=inquiry, masks=masks)


def open_inquiry(
    request: ScoreRequest,
    keys: PairCache,
    *,
    rosters: Rosters,
    served: Mapping[Digest, Layout],
    now_ms: int,
) -> OpenInquiry:
    """Check a request as its responder and open it (protocol 7.5, checks a to h).

    What needs memory is the caller's, next and in this order: the request id
    (``guard.check_new``), quotas, and the rule of 7.9.

    Args:
        request: As relayed by the coordinator.
        keys: The responder's.
        rosters: That came from the coordinator.
        served: Layout of each model version that this node serves.
        now_ms: Milliseconds since 1970, UTC.

    Raises:
        ScoreRefusalError: with the code of the first check that fails. Nothing of it depends
            on who is held here.
    """
    inquiry = parse_inquiry(request.inquiry)
    policy = keys.manifest.policy.scoring
    asker = keys.peer(inquiry.requester)  # (a) S02
    if not policy.may_ask(asker.member):  # (b)
        raise ScoreRefusalError(ScoreRefusal.DELIVERY, f"{asker.member} may not ask")
    if not now_ms < inquiry.deadline <= now_ms + LONGEST_DEADLINE:  # (c)
        raise ScoreRefusalError(ScoreRefusal.DEADLINE, f"deadline {inquiry.deadline}")
    now = now_ms // 1_000
    roster = rosters.find(inquiry.roster_version, now=now)
    check_members(  # (d) S04
        roster,
        inquiry.roster,
        asker=asker.member,
        responder=keys.me,
        retry=inquiry.retry_of is not None,
        floor=policy.min_responders,
    )
    layout = served.get(inquiry.model)
    # (e) The roster's model alone: with two of one person an asker would have two equations.
    # About closures there is one layout for ever, and nothing else may be asked of it.
    closures = inquiry.purpose is Purpose.CLOSURE_SIGNAL
    if layout is None or inquiry.model != (CLOSURES if closures else roster.model):
        raise ScoreRefusalError(ScoreRefusal.MODEL, f"{inquiry.model} is not served")
    context = context_of(request.inquiry, keys.digest)
    try:
        asker.verify.verify(Label.SCORE_REQUEST, bytes.fromhex(context), request.signature)
    except SignatureError as error:  # (f)
        raise ScoreRefusalError(ScoreRefusal.SIGNATURE, f"of {asker.member}") from error
    fresh = exchange(keys.agreement, inquiry.ephemeral)
    receipts = _opened(request, inquiry, keys, fresh)  # (g) S11
    consent.check(  # (h) S08, S13
        receipts,
        purpose=inquiry.purpose,
        families=len(layout.families),
        epoch=policy.epoch,
        now=now,
    )
    if (
        layout.disclosure is Disclosure.TOTAL_ONLY
        and not receipts.allowed(len(layout.families)).all()
    ):
        # Totals over changing families would be families: the asker writes its receipts.
        raise ScoreRefusalError(ScoreRefusal.PURPOSE, "a total over some of the families")
    return OpenInquiry(
        context=context, inquiry=inquiry, layout=layout, receipts=receipts, fresh=fresh
    )


def _opened(
    request: ScoreRequest, inquiry: Inquiry, keys: PairCache, fresh: Secret
) -> Receipts:
    """The receipts, if they are what the signed clear part commits to."""
    if hash_with(Label.SCORE_SEALED, request.sealed) != inquiry.sealed:
        raise _malformed("the sealed part is not the one that was signed")
    wraps = [wrap.key for wrap in request.wraps if wrap.member == keys.me]
    if len(wraps) != 1 or len(wraps[0]) != _KEY_BYTES + TAG_BYTES:
        raise _malformed(f"{len(wraps)} wraps for this responder")
    asker = keys.peer(inquiry.requester)
    key = wrap_key(
        asker, bytes.fromhex(inquiry.request), fresh, asker=asker.member, responder=keys.me
    )
    bound = _bound(keys.digest, inquiry.request, asker.member, inquiry.ephemeral)
    try:
        seal = AESGCM(key.expose()).decrypt(_NONCE, wraps[0], None)
        opened = AESGCM(seal).decrypt(_NONCE, request.sealed, bound)
    except InvalidTag as error:
        raise _malformed("a seal does not open") from error
    receipts = consent.unpack(opened, inquiry.persons)
    # AES-GCM does not commit to its key: one sealed part may open differently for another
    # responder. This digest is what makes all of them see the same persons.
    if consent.receipts_digest(opened) != inquiry.consents:
        raise _malformed("the receipts are not those that were signed")
    return receipts


def _bound(manifest: Digest, request: RequestId, asker: PartnerId, one_time: bytes) -> bytes:
    """Associated data of the seal; the rest of the clear part names the sealed digest."""
    names = bytes.fromhex(manifest) + bytes.fromhex(request) + lp(asker.encode("ascii"))
    return names + one_time


def _malformed(detail: str) -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.MALFORMED, detail)
