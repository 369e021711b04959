"""One way to write a person's identifier, so that all partners get one token (protocol 6.1).

The rule is the manifest's (``Policy.scoring.identifier``). Text is brought to NFKC and upper
case, separators fall away, check digits are verified: a mistyped number would otherwise be
another person, at one partner only. No error shows the text, nor what was wrong where.
"""

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.canonical import Label, lp
from consortium.errors import ConfigurationError, PersonError

_SEPARATORS = re.compile(r"[\s\-./()_·‐-―−]+")  # noqa: RUF001 - dashes as people type them
_RULE = re.compile(r"[a-z0-9]{2,8}/[a-z_]{1,32}")
_LONGEST = 256
"""Characters as typed, separators included; keeps the work of a hostile text small."""

_RECORD = re.compile(r"[A-Z0-9]{1,64}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_CN = re.compile(
    r"[1-8][0-9]{5}(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})[0-9]{3}[0-9X]"
)
_CN_YEARS = range(1850, 2101)
_TW = re.compile(r"[A-Z][1289][0-9]{8}")
_TW_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
"""A is 10, B 11, and so on in this order: I and O came last."""
_TW_WEIGHTS = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)


@dataclass(frozen=True, slots=True)
class PersonRule:
    """The federation's form of an identifier, as text ``country/type``."""

    country: str
    kind: str

    @classmethod
    def parse(cls, text: str) -> "PersonRule":
        """Return the rule of the manifest's text, or raise ConfigurationError.

        There are ``cn/national_id``, ``tw/national_id``, ``e164/phone`` and, for any two
        letters, ``cc/record``: letters and digits without a check digit.
        """
        country, _, kind = text.partition("/")
        known = text in _FORMS or (kind == "record" and re.fullmatch("[a-z]{2}", country))
        if not (_RULE.fullmatch(text) and known):
            raise ConfigurationError(
                f"policy.scoring.identifier: {text[:48]!r} is none of "
                f"{', '.join(sorted(_FORMS))}, cc/record"
            )
        return cls(country, kind)

    def __str__(self) -> str:
        return f"{self.country}/{self.kind}"


def canonical_number(rule: PersonRule, text: str) -> str:
    """The identifier in its one form. Private.

    Raises:
        PersonError: it is not of the rule's form, or a check digit or date in it is wrong.
    """
    plain = unicodedata.normalize("NFKC", text[: _LONGEST + 1])
    # Before upper(): it would make ASCII letters of some others, such as the dotless i.
    if len(text) > _LONGEST or not _SEPARATORS.sub("", plain).isascii():
        raise _refused(rule)
    number = _SEPARATORS.sub("", plain).upper()
    if not _FORMS.get(str(rule), _is_record)(number):
        raise _refused(rule)
    return number


def person_input(rule: PersonRule, text: str) -> bytes:
    """The input of protocol 6.1: ``PERSON ‖ lp(country) ‖ lp(type) ‖ lp(number)``. Private.

    Raises:
        PersonError: as ``canonical_number``; its text does not show the identifier.
    """
    parts = (rule.country, rule.kind, canonical_number(rule, text))
    return Label.PERSON.line + b"".join(lp(part.encode("ascii")) for part in parts)


def _is_record(number: str) -> bool:
    return _RECORD.fullmatch(number) is not None


def _is_phone(number: str) -> bool:
    return _PHONE.fullmatch(number) is not None


def _is_cn(number: str) -> bool:
    """GB 11643: a region, a date of birth, and a check digit by ISO 7064 MOD 11-2."""
    found = _CN.fullmatch(number)
    if found is None:
        return False
    year, month, day = (int(found[part]) for part in ("year", "month", "day"))
    if year not in _CN_YEARS or not 1 <= month <= 12:  # noqa: PLR2004 - months
        return False
    if not 1 <= day <= monthrange(year, month)[1]:
        return False
    total = 0
    for digit in number[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    return number[-1] == "0123456789X"[check]


def _is_tw(number: str) -> bool:
    """A letter, sex or residence, and a check digit; citizens (1, 2) and residents (8, 9)."""
    if _TW.fullmatch(number) is None:
        return False
    letter = _TW_LETTERS.index(number[0]) + 10
    digits = (letter // 10, letter % 10, *(int(digit) for digit in number[1:]))
    return sum(d * w for d, w in zip(digits, _TW_WEIGHTS, strict=True)) % 10 == 0


_FORMS: Mapping[str, Callable[[str], bool]] = {
    "cn/national_id": _is_cn,
    "tw/national_id": _is_tw,
    "e164/phone": _is_phone,
}


def _refused(rule: PersonRule) -> PersonError:
    return PersonError(f"an identifier is not of the form {rule}")
