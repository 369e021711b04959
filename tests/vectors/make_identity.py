"""Make ``identity.json``: fixed vectors of protocol 6.1 to 6.4.

Written from RFC 9496, RFC 9497 and the protocol's text with integers and hashlib; nothing of
the product is imported, so that the product's tests compare two implementations.

    python tests/vectors/make_identity.py > tests/vectors/identity.json
"""

import hashlib
import json
import sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - the square root of -1, as the RFC names it
CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
BASE_Y = 4 * pow(5, -1, P) % P
PERSONS = (
    ("cn", "national_id", "11010519491231002X"),
    ("tw", "national_id", "A123456789"),
    ("e164", "phone", "+8613800138000"),
    ("xx", "record", "CUSTOMER42"),
)


def named(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def root(u: int, v: int) -> tuple[bool, int]:
    """RFC 9496, 4.2: SQRT_RATIO_M1."""
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    flipped = check in {-u % P, -u * I % P}
    if flipped:
        r = r * I % P
    return check in {u % P, -u % P}, r if r % 2 == 0 else P - r


INVSQRT_A_MINUS_D = root(1, -1 - D)[1]
# The RFC's constant is the other root.
SQRT_AD_MINUS_ONE = (
    25063068953384623474111414158702152701244531502492656460079210482610430750235
)


def extended(x: int, y: int) -> tuple[int, int, int, int]:
    return x % P, y % P, 1, x * y % P


def plus(
    p: tuple[int, int, int, int], q: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * D * p[3] * q[3] % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(s: int, p: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    total = (0, 1, 1, 0)
    while s:
        if s & 1:
            total = plus(total, p)
        p, s = plus(p, p), s >> 1
    return total


def even(x: int) -> int:
    return x if x % 2 == 0 else P - x


def encode(p: tuple[int, int, int, int]) -> bytes:
    """RFC 9496, 4.3.2."""
    x, y, z, t = p
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, inverse = root(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inv = den1 * den2 * t % P
    den = den2
    if t * z_inv % P % 2:
        x, y, den = y * I % P, x * I % P, den1 * INVSQRT_A_MINUS_D % P
    if x * z_inv % P % 2:
        y = -y % P
    return even(den * (z - y) % P).to_bytes(32, "little")


def mapped(data: bytes) -> tuple[int, int, int, int]:
    """RFC 9496, 4.3.4: MAP."""
    t = int.from_bytes(data, "little") % 2**255 % P
    r = I * t * t % P
    u = (r + 1) * (1 - D * D) % P
    v = (-1 - r * D) * (r + D) % P
    square, s = root(u, v)
    c = P - 1
    if not square:
        s = -even(s * t % P) % P
        c = r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P
    w2, w3 = (1 - s * s) % P, (1 + s * s) % P
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def expand(message: bytes, dst: bytes) -> bytes:
    prime = dst + bytes([len(dst)])
    b0 = hashlib.sha512(bytes(128) + message + b"\x00\x40\x00" + prime).digest()
    return hashlib.sha512(b0 + b"\x01" + prime).digest()


def to_group(x: bytes) -> tuple[int, int, int, int]:
    wide = expand(x, b"HashToGroup-" + CONTEXT)
    return plus(mapped(wide[:32]), mapped(wide[32:]))


def to_scalar(data: bytes) -> int:
    return int.from_bytes(expand(data, b"HashToScalar-" + CONTEXT), "little") % L


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def main() -> None:
    square, x = root(BASE_Y**2 - 1, D * BASE_Y**2 + 1)
    assert square
    base = extended(x, BASE_Y)
    key = int.from_bytes(named("key") + named("key again"), "little") % L
    slopes = [key, *(int.from_bytes(named(f"slope {k}"), "little") % L for k in (1, 2))]
    shares = {j: sum(a * j**k for k, a in enumerate(slopes)) % L for j in (1, 2, 3, 4)}
    persons = []
    for country, kind, number in PERSONS:
        parts = (country, kind, number)
        data = b"riskweave/id/v1\n" + b"".join(lp(part.encode()) for part in parts)
        element = encode(times(key, to_group(data)))
        l2 = len(data).to_bytes(2, "big") + data + b"\x00\x20" + element
        token = hashlib.sha512(l2 + b"Finalize").digest()[:16]
        persons.append(
            {
                "rule": f"{country}/{kind}",
                "number": number,
                "input": data.hex(),
                "token": token.hex(),
            }
        )
    nonce = int.from_bytes(named("nonce"), "little") % L
    shown, first = encode(times(nonce, base)), encode(times(key, base))
    challenge = to_scalar(b"riskweave/dkg-pok/v1\n\x00\x07" + lp(b"bank_a") + first + shown)
    answer = (nonce + challenge * key) % L
    commitments = b"".join(encode(times(a, base)) for a in slopes)
    proof = shown + answer.to_bytes(32, "little")
    commit = hashlib.sha256(
        b"riskweave/dkg/v1\n\x00\x07" + lp(b"bank_a") + commitments + proof
    ).hexdigest()
    document = {
        "epoch": 7,
        "member": "bank_a",
        "coefficients": [a.to_bytes(32, "little").hex() for a in slopes],
        "shares": {str(j): share.to_bytes(32, "little").hex() for j, share in shares.items()},
        "commitments": commitments.hex(),
        "proof": proof.hex(),
        "commit": commit,
        "persons": persons,
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
