"""One form for each identifier, and none shown when it is refused (6.1)."""

import pytest

from consortium.errors import ConfigurationError, PersonError
from consortium.identity.person import PersonRule, canonical_number, person_input

CN, TW = PersonRule.parse("cn/national_id"), PersonRule.parse("tw/national_id")
PHONE, RECORD = PersonRule.parse("e164/phone"), PersonRule.parse("fr/record")


@pytest.mark.parametrize(
    ("rule", "typed", "number"),
    [
        (CN, "11010519491231002X", "11010519491231002X"),
        (CN, " 110105 19491231 002x ", "11010519491231002X"),
        (CN, "110105194912310" + "02Ｘ", "11010519491231002X"),  # noqa: RUF001 - full width
        (CN, "440524188001010014", "440524188001010014"),
        (TW, "A123456789", "A123456789"),
        (TW, "ａ１２３-４５６-７８９", "A123456789"),  # noqa: RUF001 - full width
        (TW, "a800000014", "A800000014"),
        (PHONE, "+86 138-0013-8000", "+8613800138000"),
        (PHONE, "+1 (212) 555.0123", "+12125550123"),
        (RECORD, "ab/12-34 z", "AB1234Z"),
        (RECORD, "ﬁ9", "FI9"),
    ],
)
def test_ways_to_write_an_identifier_come_to_one_form(
    rule: PersonRule, typed: str, number: str
) -> None:
    assert canonical_number(rule, typed) == number
    again = person_input(rule, number)
    assert person_input(rule, typed) == again
    assert again.startswith(b"riskweave/id/v1\n")


@pytest.mark.parametrize(
    ("rule", "typed"),
    [
        (CN, "110105194912310021"),  # check digit
        (CN, "110105194902310027"),  # 31 February, check digit right or not
        (CN, "11010519491331002X"),
        (CN, "110105491231002"),  # fifteen digits of before 1999
        (CN, "91010519491231002X"),
        (TW, "A123456788"),
        (TW, "A323456789"),
        (TW, "1123456789"),
        (PHONE, "13800138000"),  # without its country it is not one person's
        (PHONE, "+0138001380"),
        (PHONE, "+1234567890123456"),
        (PHONE, "+12"),
        (RECORD, ""),
        (RECORD, "- -"),
        (RECORD, "x" * 65),
        (RECORD, "x" * 300),
        (RECORD, "12;34"),
        (RECORD, "\u01312"),  # a dotless i: upper() would make an ASCII I of it
        (RECORD, "straße"),
    ],
)
def test_identifier_of_another_form_is_refused_without_being_shown(
    rule: PersonRule, typed: str
) -> None:
    with pytest.raises(PersonError) as caught:
        person_input(rule, typed)
    error = caught.value
    assert str(error) == f"an identifier is not of the form {rule}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_date_of_birth_that_is_none_is_refused_though_the_check_digit_is_right() -> None:
    weights = [2 ** (17 - place) % 11 for place in range(17)]

    def checked(head: str) -> str:
        total = sum(int(digit) * weight for digit, weight in zip(head, weights, strict=True))
        return head + "10X98765432"[total % 11]

    assert canonical_number(CN, checked("11010519491231002")) == "11010519491231002X"
    assert canonical_number(CN, checked("11010520000229002"))
    for date in ("19000229", "19491301", "19490031", "19490431", "17001231", "29991231"):
        with pytest.raises(PersonError):
            canonical_number(CN, checked(f"110105{date}002"))


def test_same_number_under_another_rule_is_another_person() -> None:
    rules = [PersonRule.parse(text) for text in ("aa/record", "ab/record")]
    assert len({person_input(rule, "12345678") for rule in rules}) == 2


@pytest.mark.parametrize(
    "text", ["", "cn", "cn/phone", "CN/national_id", "e164/record", "cn/record/x", "c/record"]
)
def test_rule_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.scoring\.identifier"):
        PersonRule.parse(text)


def test_default_of_the_manifest_is_a_rule() -> None:
    assert str(PersonRule.parse("xx/record")) == "xx/record"
