"""One proof that a whole batch was evaluated under the published key (RFC 9497, 2.2).

``prove`` and ``verify`` are the RFC's GenerateProof and VerifyProof with the generator as
``A``: every byte that is hashed is the RFC's. The prover needs one pass over the batch, the
verifier two products a point; both take ``each`` as ``oprf`` does.
"""

import hashlib
from collections.abc import Sequence
from functools import partial

from consortium.canonical import Label
from consortium.crypto.keys import KEY_BYTES, Secret
from consortium.crypto.ristretto import (
    CONTEXT,
    IDENTITY,
    POINT_BYTES,
    SCALAR_BYTES,
    Point,
    Scalar,
    add,
    base_mult,
    hash_to_scalar,
    mult,
    parse_scalar,
    scalar_from,
    scalar_mul,
    scalar_sub,
    weighted_sum,
)
from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError
from consortium.identity.oprf import CHUNK, Each

_LARGEST_BATCH = 1 << 16
"""The RFC writes a point's place in two bytes."""

_SEED_DST = b"Seed-" + CONTEXT


def prove(
    key: Scalar,
    public: Point,
    points: Sequence[bytes],
    evaluated: Sequence[bytes],
    *,
    entropy: Secret,
    each: Each = map,
) -> bytes:
    """Proof that ``evaluated[i] = key·points[i]`` and ``public = key·G``: 64 bytes.

    Args:
        key: w, as the points were multiplied by. Secret.
        public: ``w·G``.
        points: What came, checked by ``oprf.evaluate``.
        evaluated: What it returned.
        entropy: 32 fresh bytes. The nonce is made of them, of the key and of the batch, so
            that a second use with another batch opens nothing. Secret.
        each: Runs the chunks.
    """
    seed = entropy.expose()
    if len(seed) != KEY_BYTES:
        raise DomainError(f"entropy of {len(seed)} bytes, expected {KEY_BYTES}")
    weights = _weights(public, points, evaluated, each)
    m = _weighted(weights, points, each)
    wide = hashlib.sha512(
        Label.DLEQ_NONCE.line + seed + key + public + m + b"".join(evaluated)
    ).digest()
    return prove_with(key, public, m, scalar_from(wide))


def prove_with(key: Scalar, public: Point, m: Point, nonce: Scalar) -> bytes:
    """The proof for the composite ``m`` with a given nonce (RFC 9497, 2.2.1).

    Args:
        key: w. Secret.
        public: ``w·G``.
        m: ``Σ d_i·C_i`` of ``composite``.
        nonce: r, used once: two proofs with one nonce open the key. Secret.
    """
    z = mult(key, m)
    challenge = _challenge(public, m, z, base_mult(nonce), mult(nonce, m))
    return challenge + scalar_sub(nonce, scalar_mul(challenge, key))


def verify(
    public: Point,
    points: Sequence[bytes],
    evaluated: Sequence[bytes],
    proof: bytes,
    *,
    each: Each = map,
) -> None:
    """Return if the proof holds (RFC 9497, 2.2.2).

    Each point of ``evaluated`` is checked on the way: no group element and the identity are
    refused.

    Args:
        public: The key of which the holder must have proved the use: ``λ_i·P_i``.
        points: As they were sent.
        evaluated: As they came back.
        proof: 64 bytes.
        each: Runs the chunks.

    Raises:
        ScoreRefusalError: not as many points as were sent (S11), a point is none (S14), the
            proof does not hold (S15).
    """
    if len(points) != len(evaluated) or not points:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, "not one point for each that was sent")
    challenge, response = _parsed(proof)
    weights = _weights(public, points, evaluated, each)
    m, z = _weighted(weights, points, each), _weighted(weights, evaluated, each)
    try:
        t2 = add(base_mult(response), mult(challenge, public))
        t3 = add(mult(response, m), mult(challenge, z))
    except ScoreRefusalError as error:
        # A zero challenge or response, or composites that cancel: no honest proof has them.
        raise ScoreRefusalError(ScoreRefusal.PROOF, "a degenerate proof") from error
    if _challenge(public, m, z, t2, t3) != challenge:
        raise ScoreRefusalError(ScoreRefusal.PROOF, "a holder's proof does not verify")


def composite(
    public: Point, points: Sequence[bytes], evaluated: Sequence[bytes], *, each: Each = map
) -> Point:
    """``M = Σ d_i·C_i`` with the weights of RFC 9497, 2.2.1."""
    return _weighted(_weights(public, points, evaluated, each), points, each)


def _parsed(proof: bytes) -> tuple[Scalar, Scalar]:
    try:
        return parse_scalar(proof[:SCALAR_BYTES]), parse_scalar(proof[SCALAR_BYTES:])
    except ScoreRefusalError as error:
        raise ScoreRefusalError(
            ScoreRefusal.PROOF, "a proof is not two reduced scalars"
        ) from error


def _weights(
    public: Point, points: Sequence[bytes], evaluated: Sequence[bytes], each: Each
) -> list[Scalar]:
    """``d_i``: they depend on all that is proved but on each other's place only by number."""
    if len(points) > _LARGEST_BATCH or len(points) != len(evaluated):
        raise DomainError(f"a proof for {len(points)} points and {len(evaluated)} results")
    seed = hashlib.sha512(_lp(public) + _lp(_SEED_DST)).digest()
    starts = range(0, len(points), CHUNK)
    parts = each(partial(_weights_chunk, _lp(seed), points, evaluated), starts)
    return [weight for part in parts for weight in part]


def _weights_chunk(
    head: bytes, points: Sequence[bytes], evaluated: Sequence[bytes], start: int
) -> list[Scalar]:
    size = POINT_BYTES.to_bytes(2, "big")
    return [
        hash_to_scalar(
            head, i.to_bytes(2, "big"), size, points[i], size, evaluated[i], b"Composite"
        )
        for i in range(start, min(start + CHUNK, len(points)))
    ]


def _weighted(weights: Sequence[Scalar], points: Sequence[bytes], each: Each) -> Point:
    def part(start: int) -> Point:
        return weighted_sum(weights[start : start + CHUNK], points[start : start + CHUNK])

    total = IDENTITY
    for term in each(part, range(0, len(points), CHUNK)):
        total = add(total, term)
    return total


def _challenge(*points: Point) -> Scalar:
    """Of the key, M, Z, t2 and t3, in this order."""
    return hash_to_scalar(*(_lp(point) for point in points), b"Challenge")


def _lp(data: bytes) -> bytes:
    """The RFC's two-byte length prefix."""
    return len(data).to_bytes(2, "big") + data
