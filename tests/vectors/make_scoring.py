"""Make ``scoring.json``: fixed vectors of protocol 7.1 to 7.9.

Written from the protocol's text with hashlib, hmac and four primitives of ``cryptography``;
nothing of the product is imported, so that the product's tests compare two implementations.

    python tests/vectors/make_scoring.py > tests/vectors/scoring.json
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

PARTNERS = ("bank-a", "bank-b", "platform", "telco_1")
ASKER = "bank-b"
FAMILIES = ("repayment", "orders")
REQUEST = "00112233445566778899aabbccddeeff"
NOW, VERSION, EPOCH, WORD = 1_790_000_000, 41, 3, 1 << 64
UNIT, SENTINEL = 1 << 32, (1 << 32) + 1
# For each partner and person: logits in units of the families it holds the person in.
HELD = {
    "bank-a": ({"repayment": UNIT // 3}, {}),
    "bank-b": ({"repayment": -5}, {"repayment": 17 * UNIT}),
    "platform": ({}, {"orders": -UNIT}),
    "telco_1": ({}, {}),
}


def named(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def line(use: str) -> bytes:
    return f"riskweave/{use}/v1\n".encode()


def labelled(use: str, *parts: bytes) -> bytes:
    return hashlib.sha256(line(use) + b"".join(parts)).digest()


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with one block of output."""
    extracted = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def words_of(key: bytes, count: int) -> list[int]:
    stream = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(8 * count))
    return list(struct.unpack(f"<{count}Q", stream))


def exchange(private: bytes, public: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private)
    return key.exchange(X25519PublicKey.from_public_bytes(public))


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def lasting(member: str) -> bytes:
    return named(f"agreement {member}")


def sign(member: str, use: str, message: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(named(f"identity {member}"))
    return key.sign(line(use) + message)


def roster_statement() -> bytes:
    head = named("manifest") + struct.pack(">QQ", VERSION, NOW + 60)
    names = b"".join(lp(name.encode()) for name in PARTNERS)
    return head + lp(named("model")) + lp(b"") + struct.pack(">H", len(PARTNERS)) + names


def receipt(person: int) -> bytes:
    token, evidence = named(f"person {person}")[:16], named(f"evidence {person}")
    # Purposes: bit 0 JOINT_SCORE. The second person allows the first family only.
    families = (0b11, 0b01)[person]
    fields = (NOW + 1_000, families, 1, EPOCH, 1, 1, 1)
    return token + evidence + struct.pack(">QIHHHBB", *fields)


def clear_part(one_time: bytes, sealed: bytes, receipts: list[bytes]) -> dict[str, object]:
    hashes = [labelled("consent", one) for one in receipts]
    return {
        "request": REQUEST,
        "requester": ASKER,
        "ephemeral": public_of(one_time).hex(),
        "roster": list(PARTNERS),
        "roster_version": VERSION,
        "model": named("model").hex(),
        "purpose": "JOINT_SCORE",
        "persons": len(receipts),
        "deadline": NOW * 1_000 + 500,
        "consents": labelled("consents", *hashes).hex(),
        "sealed": labelled("score-sealed", sealed).hex(),
        "retry_of": [],
    }


def plain_words(member: str, receipts: list[bytes]) -> list[int]:
    words = []
    for person, held in enumerate(HELD[member]):
        allowed = struct.unpack(">I", receipts[person][56:60])[0]
        holds = {
            name: max(-16 * UNIT, min(16 * UNIT, value))
            for name, value in held.items()
            if allowed >> FAMILIES.index(name) & 1
        }
        for name in FAMILIES:
            words += [holds.get(name, 0) % WORD, int(name in holds)]
        words += [int(bool(holds)), SENTINEL]
    return words


def masked(member: str, words: list[int], keys: dict[str, bytes]) -> list[int]:
    for other, key in keys.items():
        sign_of = 1 if other < member else -1
        mask = words_of(key, len(words))
        words = [(word + sign_of * bit) % WORD for word, bit in zip(words, mask, strict=True)]
    return words


def main() -> None:
    receipts = [receipt(0), receipt(1)]
    salt = bytes.fromhex(REQUEST)
    one_time = hkdf(named("entropy"), salt, b"riskweave/score-eph/v1")
    seal = hkdf(named("entropy"), salt, b"riskweave/score-seal/v1")
    bound = named("manifest") + salt + lp(ASKER.encode()) + public_of(one_time)
    sealed = AESGCM(seal).encrypt(bytes(12), b"".join(receipts), bound)
    inquiry = clear_part(one_time, sealed, receipts)
    # RFC 8785 for ASCII strings and integers: sorted keys and no spaces.
    clear = json.dumps(inquiry, sort_keys=True, separators=(",", ":")).encode()
    context = labelled("score", named("manifest"), clear)

    def mask_key(one: str, other: str) -> bytes:
        low, high = sorted((one, other))
        info = b"riskweave/score-mask/v1" + lp(low.encode()) + lp(high.encode())
        pair = exchange(lasting(one), public_of(lasting(other)))
        if ASKER in (one, other):
            responder = other if one == ASKER else one
            pair = exchange(lasting(responder), public_of(one_time)) + pair
        return hkdf(pair, context, info)

    responders = [name for name in PARTNERS if name != ASKER]
    wraps, answers = {}, {}
    for name in responders:
        pair = exchange(one_time, public_of(lasting(name)))
        pair += exchange(lasting(ASKER), public_of(lasting(name)))
        info = b"riskweave/score-wrap/v1" + lp(ASKER.encode()) + lp(name.encode())
        wraps[name] = AESGCM(hkdf(pair, salt, info)).encrypt(bytes(12), seal, None).hex()
        keys = {other: mask_key(name, other) for other in PARTNERS if other != name}
        words = masked(name, plain_words(name, receipts), keys)
        body = struct.pack(f"<{len(words)}Q", *words)
        answers[name] = {
            "words": [f"{word:016x}" for word in words],
            "signature": sign(name, "score-ans", context + body).hex(),
        }
    everybody = [plain_words(name, receipts) for name in PARTNERS]
    total = [sum(column) % WORD for column in zip(*everybody, strict=True)]
    members = labelled("score-members", *(lp(name.encode()) for name in PARTNERS))
    seen = labelled("score-seen", lp(ASKER.encode()), named("person 0")[:16])
    found = {
        "note": "SHA-256 of names: identity ID, agreement ID, manifest, model, entropy, "
        "person N (first 16 bytes), evidence N",
        "partners": PARTNERS,
        "families": FAMILIES,
        "held": HELD,
        "roster": {
            "version": VERSION,
            "valid_until": NOW + 60,
            "statement": roster_statement().hex(),
            "signature": sign("coordinator", "roster", roster_statement()).hex(),
        },
        "receipts": [one.hex() for one in receipts],
        "receipt_digest": labelled("consent", receipts[0]).hex(),
        "inquiry": inquiry,
        "sealed": sealed.hex(),
        "wraps": wraps,
        "context": context.hex(),
        "request_signature": sign(ASKER, "score-req", context).hex(),
        "asker_masks": {name: mask_key(ASKER, name).hex() for name in responders},
        "answers": answers,
        "total": [f"{word:016x}" for word in total],
        "refusal_signature": sign("bank-a", "score-refusal", context + lp(b"S07")).hex(),
        "members_digest": members.hex(),
        "seen_key": seen.hex(),
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
