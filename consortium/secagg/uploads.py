"""Signing and checking one partner's words for one sum (protocol 3.4.8)."""

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with
from consortium.crypto.keys import IdentityKey, verify_signature
from consortium.errors import DigestMismatchError, OutOfOrderError, ShapeError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Member
from consortium.messages import Upload

Words = NDArray[np.uint64]


def words_digest(words: Words) -> Digest:
    """Hash of the little-endian words. Public once they are sent."""
    # Read where they are: a copy of a large vector costs as much as half of its hash.
    plain = np.ascontiguousarray(words, dtype="<u8")
    return hash_with(Label.WORDS, plain.view(np.uint8).data)


def sign_upload(
    words: Words, *, context: Digest, member: PartnerId, key: IdentityKey
) -> Upload:
    """The signed envelope of ``words``; ``context`` is the joined one, rctx."""
    digest = words_digest(words)
    signature = key.sign(Label.UPLOAD, bytes.fromhex(context) + bytes.fromhex(digest))
    return Upload(context=context, member=member, words=digest, signature=signature)


def verify_upload(
    upload: Upload, words: Words, *, context: Digest, member: Member, size: int
) -> None:
    """Raise unless ``words`` are what ``member`` signed for this joined context.

    Raises:
        ShapeError: not ``size`` flat uint64 words.
        OutOfOrderError: for another sum, or by another member.
        DigestMismatchError: the words are not those that the envelope names.
        SignatureError: the signature fails under the manifest's key.
    """
    if words.dtype != np.uint64 or words.shape != (size,):
        raise ShapeError(f"{member.id}: words {words.dtype} {words.shape}, expected ({size},)")
    if upload.context != context or upload.member != member.id:
        raise OutOfOrderError(f"{member.id}: the upload is for another sum or by another")
    if (seen := words_digest(words)) != upload.words:
        raise DigestMismatchError(f"upload of {member.id}", seen, upload.words)
    verify_signature(
        bytes.fromhex(member.identity),
        Label.UPLOAD,
        bytes.fromhex(context) + bytes.fromhex(upload.words),
        upload.signature,
    )
