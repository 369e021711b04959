"""The model document as the report reads it: the only place that knows its keys.

What is here is public. Nothing of it was computed by the rehearsal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from consortium.canonical import parse_canonical
from consortium.errors import DecodeError
from consortium.ids import Digest
from models.document import verify_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHonest:
    """Decimal strings by who colludes (protocol 4.3)."""

    all_honest: str
    half_collude: str
    """As many as the plan assumes at most."""
    others_collude: str
    largest: str
    claimed: str
    """The worst from as many as assumed to nobody: what is charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epsilon:
    """Decimal strings for one set of persons."""

    record: ByHonest
    person: ByHonest
    person_replace_one: ByHonest


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Charged attempts with so many partners."""

    partners: int
    """K."""
    honest: int
    """h: fewest honest members with whom the claim holds."""
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBound:
    """Who trains a block, and how many of them may hold one person (m_b)."""

    name: str
    holders: tuple[str, ...]
    holders_per_person: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """All releases of one purpose."""

    purpose: str
    persons: str
    """training or holdout."""
    attempts: int
    sigma: str
    """Noise of one partner in units of what one row can move."""
    person_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAttempt:
    """An attempt that was charged and gave no sum."""

    purpose: str
    round: int
    attempt: int
    missing: tuple[tuple[str, str], ...]
    """Partner and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """The privacy statement, for print."""

    unit: str
    relation: str
    trust: str
    delta: str
    target: str
    max_partners_per_person: int
    accountant: str
    witnesses: Mapping[str, str]
    """What other accountants say of the same claim, Opacus among them."""
    noise_mode: str
    honest_fraction: str
    rosters: tuple[Roster, ...]
    blocks: tuple[BlockBound, ...]
    record: str
    person: str
    record_by_honest: ByHonest
    person_by_honest: ByHonest
    training: Epsilon
    holdout: Epsilon
    charges: tuple[Charge, ...]
    attempts: int
    lost: tuple[LostAttempt, ...]
    not_protected: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A model document, taken apart."""

    digests: tuple[tuple[str, str], ...]
    """What it is called and what it rests on."""
    privacy: Privacy
    noisy: Mapping[str, Mapping[str, float | None]]
    """By block: the federation's own evaluation."""
    statement: Mapping[str, object]
    """The privacy statement as it stands in the document."""
    document: bytes


_NOISY = {
    "auc": "auc",
    "ks": "ks",
    "in_the_large": "in_the_large",
    "slope": "slope",
    "brier": "brier_banded",
}


def parse_published(document: bytes, version: str) -> Published:
    """Check the digest and read the document.

    Raises:
        DigestMismatchError: the bytes are not what the version names.
        DecodeError: they are no model document of this version.
    """
    verify_version(document, Digest(version))
    parts = _object(parse_canonical(document))
    try:
        return Published(
            digests=(
                ("model", version),
                ("plan", str(parts["plan_digest"])),
                ("manifest", str(parts["manifest"])),
                ("feature schema", str(parts["schema"])),
            ),
            privacy=_privacy(_object(parts["statement"])),
            noisy={
                block: {name: _number(_object(found)[key]) for name, key in _NOISY.items()}
                for block, found in _object(parts["metrics"]).items()
            },
            statement=_object(parts["statement"]),
            document=document,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"model document: {type(error).__name__}: {error}") from error


def _privacy(statement: Mapping[str, object]) -> Privacy:
    from models.opacus_witness import witnesses_of  # noqa: PLC0415 - loads torch

    headline, epsilon = _object(statement["headline"]), _object(statement["epsilon"])
    attempts = _object(statement["attempts"])
    return Privacy(
        unit=str(statement["unit"]),
        relation=str(statement["relation"]),
        trust=str(statement["trust"]),
        delta=str(statement["delta"]),
        target=str(statement["target_epsilon"]),
        max_partners_per_person=_whole(statement["max_partners_per_person"]),
        accountant=str(statement["accountant"]),
        witnesses=witnesses_of(statement),
        noise_mode=str(statement["noise_mode"]),
        honest_fraction=str(statement["honest_fraction"]),
        rosters=tuple(_roster(_object(one)) for one in _list(statement["rosters"])),
        blocks=tuple(_block(_object(one)) for one in _list(statement["blocks"])),
        record=str(headline["record"]),
        person=str(headline["person"]),
        record_by_honest=_by_honest(headline["record_by_honest"]),
        person_by_honest=_by_honest(headline["person_by_honest"]),
        training=_epsilon(epsilon["training"]),
        holdout=_epsilon(epsilon["holdout"]),
        charges=tuple(_charge(_object(one)) for one in _list(statement["charges"])),
        attempts=_whole(attempts["made"]),
        lost=tuple(_lost(_object(one)) for one in _list(attempts["aborted"])),
        not_protected=tuple(str(text) for text in _list(statement["not_protected"])),
    )


def _epsilon(value: object) -> Epsilon:
    figures = _object(_object(value)["by_honest"])
    return Epsilon(
        record=_by_honest(figures["record"]),
        person=_by_honest(figures["person"]),
        person_replace_one=_by_honest(figures["person_replace_one"]),
    )


def _by_honest(value: object) -> ByHonest:
    figures = _object(value)
    return ByHonest(**{one.name: str(figures[one.name]) for one in fields(ByHonest)})


def _roster(one: Mapping[str, object]) -> Roster:
    return Roster(**{name.name: _whole(one[name.name]) for name in fields(Roster)})


def _block(one: Mapping[str, object]) -> BlockBound:
    return BlockBound(
        name=str(one["name"]),
        holders=tuple(str(name) for name in _list(one["holders"])),
        holders_per_person=_whole(one["holders_per_person"]),
    )


def _charge(one: Mapping[str, object]) -> Charge:
    return Charge(
        purpose=str(one["purpose"]),
        persons=str(one["persons"]),
        attempts=_whole(one["attempts"]),
        sigma=str(one["sigma"]),
        person_units=_whole(one["person_units"]),
    )


def _lost(one: Mapping[str, object]) -> LostAttempt:
    pairs = zip(_list(one["missing"]), _list(one["reasons"]), strict=True)
    return LostAttempt(
        purpose=str(one["purpose"]),
        round=_whole(one["round"]),
        attempt=_whole(one["attempt"]),
        missing=tuple((str(who), str(why)) for who, why in pairs),
    )


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DecodeError(f"model document: expected an object, seen {type(value).__name__}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise DecodeError(f"model document: expected a list, seen {type(value).__name__}")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise DecodeError(f"model document: {value!r} is no whole number")
    return value


def _number(value: object) -> float | None:
    return None if value == "n/a" else float(str(value))
