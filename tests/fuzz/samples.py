"""Honest bytes to begin from: what each decoder was made for, built by the product itself."""

import dataclasses
import tomllib
import types
import typing
from datetime import date
from enum import EnumType
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from consortium.ids import Digest, PartnerId, PersonToken, RequestId, RunId
from tests.ledger_house import House

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
_NAMED: dict[object, object] = {
    Digest: "ab" * 32,
    PartnerId: "bank-a",
    RequestId: "cd" * 16,
    RunId: "ef" * 16,
    PersonToken: bytes(16),
}
_BYTES = {"signature": 64, "proof": 64, "cosignature": 72, "words": 16, "key": 48}
_TEXTS = {
    "kind": "own",
    "purpose": "score",
    "status": "active",
    "step": "begin",
    "period": "2026-10",
    "epsilon": "1",
    "delta": "0.000001",
}


def filled(kind: type[T], **given: object) -> T:
    """A value of a frozen dataclass: each field as its type and name suggest, or as given."""
    hints = typing.get_type_hints(kind)
    names = [one.name for one in dataclasses.fields(typing.cast("Any", kind)) if one.init]
    values = {name: given.get(name, _value(hints[name], name)) for name in names}
    return kind(**(values | given))


def _value(hint: object, name: str) -> object:
    hint = hint if hint in _NAMED else getattr(hint, "__supertype__", hint)
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return tuple(_value(one, name) for one in inner if one is not Ellipsis)
    if inner:  # or None
        return _value(next(one for one in inner if one is not types.NoneType), name)
    if isinstance(hint, type) and hasattr(hint, "_fields"):  # a named tuple
        fields = typing.get_type_hints(hint)
        return hint(**{one: _value(what, one) for one, what in fields.items()})
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return filled(hint)
    return next(iter(hint)) if isinstance(hint, EnumType) else _plain(hint, name)


def _plain(hint: object, name: str) -> object:
    plain: dict[object, object] = {
        str: _TEXTS.get(name, "S01" if name == "code" else "word"),
        int: 1,
        bool: True,
        bytes: b"k" * _BYTES.get(name, 32),
        date: date(2026, 11, 1),
        float: 0.5,
    }
    return (_NAMED | plain)[hint]


@cache
def short_house() -> House:
    """A log with a few entries."""
    house = House(silos=3)
    house.adopt()
    return house


@cache
def house() -> House:
    """The log of a whole run."""
    return House(silos=3, rounds=3, masked=False).run()


@cache
def bundle() -> dict[str, bytes]:
    """The files of that log's bundle."""
    return house().bundle()


def files(folder: str) -> tuple[bytes, ...]:
    """Files of one folder of the bundle."""
    return tuple(data for name, data in sorted(bundle().items()) if name.startswith(folder))


def example(*paths: str) -> tuple[bytes, ...]:
    """Files of the repository."""
    return tuple((ROOT / path).read_bytes() for path in paths)


def example_table(path: str) -> dict[str, object]:
    """A TOML file of the repository."""
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def requests() -> tuple[bytes, ...]:
    """Certificate requests: as ours, of other curves, of RSA, of no known curve or version."""
    keys = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bank-a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    der = serialization.Encoding.DER
    made = [builder.sign(key, hashes.SHA256()).public_bytes(der) for key in keys]
    curve = bytes.fromhex("06082a8648ce3d030107")  # the object identifier of P-256
    unknown = made[0].replace(curve, curve[:-1] + b"\x22")
    return (*made, unknown, made[0].replace(b"\x02\x01\x00", b"\x02\x01\x40", 1))
