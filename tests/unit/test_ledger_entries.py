"""Entries in their fixed bytes, of a program that shares nothing with ours."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consortium.canonical import canonical_json
from consortium.crypto.keys import IdentityKey
from consortium.errors import DecodeError, DomainError, SignatureError
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import (
    ACTORS,
    TYPES,
    Entry,
    Incident,
    from_jcs,
    sign_entry,
    verify_entry,
)
from consortium.ledger.run_bodies import RoundAbort, RoundUpload
from consortium.manifest import Member, Role
from tests.ledger_house import secret_of

VECTORS: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ledger.json").read_text(encoding="utf-8")
)["entries"]


def member_of(name: str) -> Member:
    role = {"coordinator": Role.COORDINATOR, "regulator": Role.REGULATOR}.get(
        name, Role.PARTNER
    )
    return Member(
        id=PartnerId(name),
        index=1,
        role=role,
        identity=key_of(name).public.hex(),
        agreement="",
        witness="",
        tls_spki=Digest("00" * 32),
        families=(),
    )


def key_of(name: str) -> IdentityKey:
    return IdentityKey.from_secret(secret_of(f"identity {name}"))


def changed(entry: str, change: dict[str, Any] | None = None, **body: Any) -> bytes:  # noqa: ANN401 - any JSON
    plain = json.loads(VECTORS[entry]) | (change or {})
    plain["body"] = plain["body"] | body
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_there_is_a_vector_for_every_type_and_no_other() -> None:
    assert list(VECTORS) == list(TYPES)
    assert set(ACTORS) == set(TYPES.values())


@pytest.mark.parametrize("kind", TYPES)
def test_entry_of_each_type_has_its_fixed_bytes_and_verifies(kind: str) -> None:
    data = VECTORS[kind].encode()
    entry = from_jcs(data)
    assert isinstance(entry.body, TYPES[kind])
    assert entry.to_jcs() == data == canonical_json(json.loads(data))
    verify_entry(entry, data, member_of(entry.actor))
    assert sign_entry(entry, key_of(entry.actor)) == entry


@pytest.mark.parametrize("kind", TYPES)
def test_entry_in_another_name_is_refused(kind: str) -> None:
    entry = from_jcs(VECTORS[kind].encode())
    for name in ("coordinator", "regulator", "shop"):
        if name == entry.actor:
            continue
        with pytest.raises((SignatureError, DecodeError)):
            verify_entry(entry, VECTORS[kind].encode(), member_of(name))


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES if kind not in {"incident", "identity.revoked"}]
)
def test_entry_of_a_role_that_may_not_write_it_is_refused_under_its_own_key(kind: str) -> None:
    entry = from_jcs(VECTORS[kind].encode())
    stranger = "shop" if entry.actor in {"coordinator", "regulator"} else "coordinator"
    signed = sign_entry(replace(entry, actor=PartnerId(stranger)), key_of(stranger))
    with pytest.raises(DecodeError, match="in the name of"):
        verify_entry(signed, signed.to_jcs(), member_of(stranger))


@pytest.mark.parametrize("kind", TYPES)
def test_entry_with_any_byte_flipped_is_refused(kind: str) -> None:
    data = VECTORS[kind].encode()
    for place in range(len(data)):
        for bit in (0, 5, 7):
            bent = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            with pytest.raises((DecodeError, SignatureError)):
                verify_entry(from_jcs(bent), bent, member_of(from_jcs(data).actor))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"x" * (60 * 1024 + 1),
        changed("round.upload", {"v": 2}),
        changed("round.upload", {"v": True}),
        changed("round.upload", {"type": "round.dance"}),
        changed("round.upload", {"type": ["round.upload"]}),
        changed("round.upload", {"more": 1}),
        changed("round.upload", more=1),
        changed("round.upload", words="AB" * 32),
        changed("round.upload", words="ab" * 31),
        changed("round.upload", words=3),
        changed("round.upload", {"at": -1}),
        changed("round.upload", {"at": 2**53}),
        changed("round.upload", {"at": 1.0}),
        changed("round.upload", {"seq_hint": True}),
        changed("round.upload", {"actor": "Bank A"}),
        changed("round.upload", {"actor": 7}),
        changed("round.upload", {"sig": 7}),
        changed("round.upload", {"sig": "AB"}),
        changed("round.upload", {"sig": "AAB="}),
        changed("round.upload", {"sig": "é"}),
        changed("round.join", ephemeral="AB" * 32),
        changed("round.join", run="5A" * 16),
        changed("round.join", kind="dance"),
        changed("round.join", count=2**53),
        changed("round.abort", missing=["Nobody At All"]),
        changed("run.closed", version=["ab"]),
        VECTORS["plan.refused"].replace("R12", "\\ud800").encode(),
        VECTORS["round.upload"].replace(":", ": ").encode(),
        VECTORS["round.upload"].replace('"v":1', '"v":1,"v":1').encode(),
    ],
    ids=lambda data: data[:40].decode("latin-1"),
)
def test_entry_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        from_jcs(data)


def test_entry_that_is_too_long_is_not_made() -> None:
    abort = from_jcs(VECTORS["round.abort"].encode())
    assert isinstance(abort.body, RoundAbort)
    many = replace(abort.body, reasons=("x" * 61_440,))
    with pytest.raises(DomainError):
        replace(abort, body=many).to_jcs()


def test_signature_text_inside_the_body_is_not_cut_out() -> None:
    text = base64.b64encode(b"s" * 64).decode()
    body = Incident(kind=f'"sig":"{text}","type":"incident","v":1}}', text=Digest("ab" * 32))
    entry = sign_entry(
        Entry(seq_hint=0, at=1, actor=PartnerId("bank-a"), body=body), key_of("bank-a")
    )
    verify_entry(from_jcs(entry.to_jcs()), entry.to_jcs(), member_of("bank-a"))


def test_upload_names_nothing_but_two_digests() -> None:
    assert set(RoundUpload.__dataclass_fields__) == {"joined", "words"}
