"""Make ``secagg.json``: fixed vectors of protocol 3.1 to 3.4.8.

Written from the protocol's text with hashlib, hmac and three primitives of ``cryptography``;
nothing of the product is imported, so that the product's tests compare two implementations.

    python tests/vectors/make_secagg.py > tests/vectors/secagg.json
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

MEMBERS = ("bank-a", "bank-b", "platform")
LENGTH, COUNTS = 70, {"bank-a": 1, "bank-b": 3, "platform": 70}
RUN, WORD = "00112233445566778899aabbccddeeff", 1 << 64
VALUES = {"bank-a": [5, -1, 0, 7], "bank-b": [-9, 2, 1 << 40, 0], "platform": [1, 1, 1, -8]}


def named(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def labelled(use: str, *parts: bytes) -> bytes:
    return hashlib.sha256(f"riskweave/{use}/v1\n".encode() + b"".join(parts)).digest()


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with one block of output."""
    extracted = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def words_of(key: bytes, count: int) -> list[int]:
    stream = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(8 * count))
    return list(struct.unpack(f"<{count}Q", stream))


def link(seed: bytes, count: int) -> bytes:
    value = hkdf(seed, b"", b"riskweave/chain/v1")
    for _ in range(LENGTH - count):
        value = labelled("link", value)
    return value


def exchange(private: bytes, public: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private)
    return key.exchange(X25519PublicKey.from_public_bytes(public))


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(member: str, use: str, message: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(named(f"identity {member}"))
    return key.sign(f"riskweave/{use}/v1\n".encode() + message)


def request_of(head: bytes) -> dict[str, object]:
    return {
        "run": RUN,
        "plan": named("plan").hex(),
        "kind": "gradient",
        "round": 2,
        "attempt": 1,
        "roster": list(MEMBERS),
        "inputs": named("inputs").hex(),
        "dimension": 4,
        "scale_bits": 24,
        "variance": "123456789012345678901",
        "head": head.hex(),
    }


def masked(member: str, keys: dict[tuple[str, str], bytes]) -> list[int]:
    words = [value % WORD for value in VALUES[member]]
    for (low, high), key in keys.items():
        sign_of = {high: 1, low: -1}.get(member, 0)
        mask = words_of(key, len(words))
        words = [(word + sign_of * bit) % WORD for word, bit in zip(words, mask, strict=True)]
    return words


def main() -> None:
    head = labelled("closed-sums", bytes.fromhex(RUN), named("plan"))
    request = request_of(head)
    # RFC 8785 for ASCII strings and integers: sorted keys and no spaces.
    document = json.dumps(request, sort_keys=True, separators=(",", ":")).encode()
    context = labelled("ctx", named("manifest"), document)
    seeds = {name: named(f"seed {name}") for name in MEMBERS}
    lasting = {name: named(f"agreement {name}") for name in MEMBERS}
    fresh = {name: hkdf(seeds[name], context, b"riskweave/eph/v1") for name in MEMBERS}
    links = {name: link(seeds[name], COUNTS[name]) for name in MEMBERS}
    parts = [lp(name.encode()) + public_of(fresh[name]) + links[name] for name in MEMBERS]
    joined = labelled("rctx", context, *parts)
    keys = {}
    for low, high in ((a, b) for a in MEMBERS for b in MEMBERS if a < b):
        secret = exchange(fresh[low], public_of(fresh[high]))
        secret += exchange(lasting[low], public_of(lasting[high]))
        info = b"riskweave/mask/v1" + lp(low.encode()) + lp(high.encode())
        keys[low, high] = hkdf(secret, joined, info)
    members = {}
    for name in MEMBERS:
        count = struct.pack(">I", COUNTS[name])
        first, commitment = (
            link(seeds[name], 0),
            labelled("seed", bytes.fromhex(RUN), lp(name.encode()), seeds[name]),
        )
        accepted = named("plan") + commitment + first + struct.pack(">I", 0)
        words = masked(name, keys)
        digest = labelled("words", struct.pack(f"<{len(words)}Q", *words))
        body = context + public_of(fresh[name]) + count + links[name]
        members[name] = {
            "seed_commitment": commitment.hex(),
            "chain_head": first.hex(),
            "acceptance_signature": sign(name, "plan-accepted", accepted).hex(),
            "count": COUNTS[name],
            "ephemeral": public_of(fresh[name]).hex(),
            "link": links[name].hex(),
            "join_signature": sign(name, "join", body).hex(),
            "values": VALUES[name],
            "words": [f"{word:016x}" for word in words],
            "words_digest": digest.hex(),
            "upload_signature": sign(name, "upload", joined + digest).hex(),
        }
    total = [sum(column) for column in zip(*VALUES.values(), strict=True)]
    published = labelled("words", struct.pack(f"<{len(total)}q", *total))
    found = {
        "note": "SHA-256 of names: seed ID, identity ID, agreement ID, manifest, plan, inputs",
        "length": LENGTH,
        "request": request,
        "context": context.hex(),
        "joined": joined.hex(),
        "members": members,
        "pair_keys": {f"{low} {high}": key.hex() for (low, high), key in keys.items()},
        "total": total,
        "next_head": labelled("closed-sums", head, joined, published).hex(),
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
