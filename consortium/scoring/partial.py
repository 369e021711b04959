"""A responder's masked words, or its signed no (protocol 7.5)."""

import numpy as np

from consortium.canonical import Label, lp
from consortium.crypto.pairwise import apply_masks
from consortium.errors import (
    ScoreRefusal,
    ScoreRefusalError,
    ShapeError,
    SignatureError,
)
from consortium.ids import Digest
from consortium.inquiries import ScoreAnswer, ScoreRefused
from consortium.scoring.inquiry import OpenInquiry
from consortium.scoring.layout import Words
from consortium.scoring.pairs import PairCache, mask_key


def answer(opened: OpenInquiry, words: Words, keys: PairCache) -> ScoreAnswer:
    """Mask ``words`` for this inquiry and sign them (protocol 7.5).

    Leaves the node: the answer. Alone it looks uniform, to the coordinator and to the asker;
    all answers together give the asker the sum and nothing smaller.

    Args:
        opened: A request that ``open_inquiry`` let through, answered only once.
        words: ``encode_holding`` of the persons in it, shape (n, D). Private.
        keys: The responder's.

    Raises:
        ShapeError: the words are not those of this inquiry.
    """
    inquiry = opened.inquiry
    if words.shape != (inquiry.persons, opened.layout.words) or words.dtype != np.uint64:
        raise ShapeError(f"words {words.dtype} {words.shape} for {inquiry.persons} persons")
    pairs = {}
    for name in inquiry.roster:
        if name != keys.me:
            fresh = opened.fresh if name == inquiry.requester else None
            pairs[name] = mask_key(keys.peer(name), opened.context, fresh)
    masked = words.reshape(-1).copy()
    apply_masks(masked, keys.me, pairs)
    body = masked.astype("<u8", copy=False).tobytes()
    signature = keys.identity.sign(Label.SCORE_ANSWER, bytes.fromhex(opened.context) + body)
    return ScoreAnswer(context=opened.context, member=keys.me, words=body, signature=signature)


def refuse(context: Digest, code: ScoreRefusal, keys: PairCache) -> ScoreRefused:
    """The signed refusal: its code, and nothing else is said.

    Args:
        context: sctx of the request that is refused.
        code: Of the error.
        keys: The responder's.
    """
    statement = _refusal_statement(context, code.value)
    return ScoreRefused(
        context=context,
        member=keys.me,
        code=code.value,
        signature=keys.identity.sign(Label.SCORE_REFUSAL, statement),
    )


def verify_refusal(refused: ScoreRefused, context: Digest, keys: PairCache) -> ScoreRefusal:
    """The code, if the named member refuses this request; else ScoreRefusalError (S17).

    ``refused.context`` is not looked at: the signature must hold for ``context``.
    """
    try:
        code = ScoreRefusal(refused.code)
        verify = keys.asked(refused.member).verify
        statement = _refusal_statement(context, code.value)
        verify.verify(Label.SCORE_REFUSAL, statement, refused.signature)
    except (ValueError, SignatureError, ScoreRefusalError) as error:
        raise ScoreRefusalError(
            ScoreRefusal.ANSWER, f"refusal in the name of {refused.member}: {error}"
        ) from error
    return code


def _refusal_statement(context: Digest, code: str) -> bytes:
    return bytes.fromhex(context) + lp(code.encode("ascii"))
