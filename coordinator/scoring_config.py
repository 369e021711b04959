"""The ``[scoring]`` table of a policy: what nodes enforce on the scoring stream (6, 7).

Read strictly and proposed into the manifest with the rest of the policy; the same reader
serves ``coordinator.toml``, a policy file and a rehearsal.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from typing import TypeVar

from consortium.errors import ConfigurationError, IdentifierError, ManifestError
from consortium.identity.person import PersonRule
from consortium.ids import PartnerId, parse_partner_id
from consortium.manifest import Delivery, Disclosure, ScoringPolicy, check_scoring

TEMPLATE_SCORING = """
[scoring]                          # joint scores; proposed into the manifest, too
delivery = "partner_local"         # partner_local | joint | via_licensed_bureau
# bureau = "bank_a"                # who alone may ask under via_licensed_bureau
epoch = 0                          # of the pseudonyms; another one is a new key; 0: none
identifier = "xx/record"           # cn/national_id | tw/national_id | e164/phone | cc/record
min_responders = 2                 # fewest answering partners beside the asker
disclosure = "family"              # family | total_only: what an asker learns beside the sum
reason_step = 5                    # points to which other partners' reasons are rounded
scores_per_second = 5              # persons that one partner may ask about
scores_per_day = 10000
studies_per_release = 5000         # persons that one partner may ask about to calibrate a model
tokens_per_second = 1              # pseudonyms that one partner may ask for
tokens_per_day = 10000
load_hours = 24                    # over which a first load of customers is spread
answer_ms = 2                      # after which an answer leaves, whatever the look-up took

[scoring.customers]                # what a first load may hold, by partner
# bank_a = 200000
"""

KEYS = frozenset(field.name for field in fields(ScoringPolicy))

_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_scoring(table: Mapping[str, object], where: str = "[scoring]") -> ScoringPolicy:
    """Return the policy in a table of ``KEYS``; what is not there has its default.

    Raises:
        ConfigurationError: an unknown key, or a value of another type or outside its bounds;
            the text names the field, the value and what was expected.
    """
    if unknown := sorted(set(table) - KEYS):
        known = ", ".join(sorted(KEYS))
        raise ConfigurationError(f"{where} unknown key {unknown[0]!r}; known: {known}")
    plain = ScoringPolicy()
    whole = {
        name: _whole(table, name, default, where)
        for name, default in asdict(plain).items()
        if type(default) is int
    }
    try:
        policy = ScoringPolicy(
            delivery=_choice(table, "delivery", Delivery, where) or plain.delivery,
            bureau=_bureau(table, where),
            identifier=_identifier(table, plain.identifier, where),
            disclosure=_choice(table, "disclosure", Disclosure, where) or plain.disclosure,
            customers=_customers(table, where),
            **whole,
        )
        check_scoring(policy)
    except ManifestError as error:
        raise ConfigurationError(f"{where} {error}") from error
    return policy


def scoring_tables(
    policy: ScoringPolicy,
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The table that ``parse_scoring`` reads back, and its table of customers beside it."""
    table: dict[str, object] = {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in asdict(policy).items()
        if value is not None and name != "customers"
    }
    return table, {str(name): count for name, count in policy.customers}


def _whole(table: Mapping[str, object], key: str, default: int, where: str) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _error(where, key, value, "a whole number")
    return value


def _choice(
    table: Mapping[str, object], key: str, kind: type[_Choice], where: str
) -> _Choice | None:
    if key not in table:
        return None
    try:
        return kind(str(table[key]))
    except ValueError as error:
        expected = " or ".join(f'"{choice}"' for choice in kind)
        raise _error(where, key, table[key], expected) from error


def _identifier(table: Mapping[str, object], default: str, where: str) -> str:
    value = table.get("identifier", default)
    try:
        return str(PersonRule.parse(value if isinstance(value, str) else ""))
    except ConfigurationError as error:
        expected = '"cn/national_id", "tw/national_id", "e164/phone" or "cc/record"'
        raise _error(where, "identifier", value, expected) from error


def _bureau(table: Mapping[str, object], where: str) -> PartnerId | None:
    if "bureau" not in table:
        return None
    return _partner(str(table["bureau"]), "bureau", where)


def _customers(table: Mapping[str, object], where: str) -> tuple[tuple[PartnerId, int], ...]:
    found = table.get("customers", {})
    if not isinstance(found, dict):
        raise _error(where, "customers", found, "a table of numbers by partner")
    counts = []
    for name in found:
        count = _whole(found, name, 0, f"{where} customers")
        if count < 1:
            raise _error(f"{where} customers", name, count, "at least 1")
        counts.append((_partner(name, "customers", where), count))
    return tuple(sorted(counts))


def _partner(text: str, key: str, where: str) -> PartnerId:
    try:
        return parse_partner_id(text)
    except IdentifierError as error:
        raise _error(where, key, text, "a partner's id") from error


def _error(where: str, key: str, value: object, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{where} {key} = {value!r}: expected {expected}")
