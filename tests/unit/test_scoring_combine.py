"""From sums to log-odds: averages, strata, bands and the head (protocol 7.7, 7.10, 7.11)."""

import numpy as np
import pytest

from consortium.errors import DecodeError, DomainError, ScoreRefusalError, ShapeError
from consortium.ids import PartnerId
from consortium.scoring.combine import band_of, family_logits, joint_eta, strata_of
from consortium.scoring.head import (
    ALPHA_LIMIT,
    BETA_LIMIT,
    ONE,
    Head,
    head_bytes,
    parse_head,
    plain_head,
)
from consortium.scoring.layout import JointSums
from tests.scoring_house import House, nobody
from tests.secagg_house import digest

FAMILIES = ("repayment", "orders", "profile", "billing")
BASE = -5_000_000_000


def sums_of(logits: list[list[int]], counts: list[list[int]]) -> JointSums:
    return JointSums(
        columns=FAMILIES,
        logits=np.array(logits),
        counts=np.array(counts),
        partners=np.array(counts).max(axis=1),
    )


SUMS = sums_of(
    [[0, 0, 0, 0], [-7, 0, 0, 0], [-7, 0, 9, 0], [1, 2, 3, 0], [1, 2, 3, 4]],
    [[0, 0, 0, 0], [2, 0, 0, 0], [2, 0, 1, 0], [1, 1, 1, 0], [3, 1, 1, 1]],
)


def test_holders_of_one_family_are_averaged_and_rounded_down() -> None:
    assert family_logits(SUMS)[1].tolist() == [-4, 0, 0, 0]
    assert family_logits(SUMS)[4].tolist() == [0, 2, 3, 4]


def test_stratum_counts_covered_families_up_to_three() -> None:
    assert strata_of(SUMS).tolist() == [0, 1, 2, 3, 3]


def test_stratum_counts_contributors_where_only_totals_are_summed() -> None:
    total = JointSums(
        columns=("total",),
        logits=np.array([[0], [4], [8], [9]]),
        counts=np.array([[0], [1], [2], [7]]),
        partners=np.array([0, 1, 2, 7]),
    )
    assert strata_of(total).tolist() == [0, 1, 2, 3]


def test_bands_are_0_1_2_and_more() -> None:
    assert [band_of(partners) for partners in (0, 1, 2, 3, 4, 50)] == [
        *("0", "1", "2", "3+", "3+", "3+")
    ]


def test_plain_head_adds_the_base_and_the_averages() -> None:
    eta, strata = joint_eta(plain_head(FAMILIES, BASE), SUMS)
    assert eta.tolist() == [BASE, BASE - 4, BASE + 5, BASE + 6, BASE + 9]
    assert strata.tolist() == [0, 1, 2, 3, 3]


def test_each_stratum_has_its_own_offset_and_slopes() -> None:
    head = Head(
        families=FAMILIES,
        base=BASE,
        alpha=(10, 20, 30),
        beta=((ONE,) * 4, (2 * ONE, ONE, -ONE, 0), (ONE // 2, 0, 0, ONE)),
    )
    eta, _ = joint_eta(head, SUMS)
    assert eta.tolist() == [BASE, 10 - 4, 20 - 8 - 9, 30, 30 + 4]


def test_terms_are_rounded_down_one_by_one() -> None:
    head = Head(families=FAMILIES, base=0, alpha=(0, 0, 0), beta=((ONE // 2,) * 4,) * 3)
    sums = sums_of([[-1, -1, 3, 0]], [[1, 1, 1, 0]])
    assert joint_eta(head, sums)[0].tolist() == [-1 - 1 + 1]


def test_head_of_other_families_is_refused() -> None:
    with pytest.raises(ShapeError):
        joint_eta(plain_head(FAMILIES[:3], BASE), SUMS)


def test_head_is_its_canonical_bytes() -> None:
    head = plain_head(FAMILIES, BASE)
    assert parse_head(head_bytes(head)) == head
    with pytest.raises(DecodeError):
        parse_head(head_bytes(head).replace(b'"alpha":[', b'"alpha":[1,'))
    with pytest.raises(DecodeError):
        parse_head(head_bytes(head).replace(b'"base":', b'"base": '))


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": (0, 0)},
        {"alpha": (0, 0, ALPHA_LIMIT + 1)},
        {"base": -ALPHA_LIMIT - 1},
        {"beta": ((ONE,) * 4,) * 2},
        {"beta": ((ONE,) * 3,) * 3},
        {"beta": ((ONE,) * 4, (ONE,) * 4, (ONE, ONE, ONE, BETA_LIMIT + 1))},
        {"beta": ((), (), ()), "families": ()},
    ],
    ids=str,
)
def test_head_outside_its_bounds_is_refused(changes: dict[str, object]) -> None:
    plain: dict[str, object] = {
        "families": FAMILIES,
        "base": 0,
        "alpha": (0, 0, 0),
        "beta": ((ONE,) * 4,) * 3,
    }
    with pytest.raises(DomainError):
        Head(**(plain | changes))  # type: ignore[arg-type]


def test_own_words_of_another_size_are_our_fault() -> None:
    house = House(3)
    request, secrets = house.seal(house.ids[0])
    answers = house.answers(request, house.ids[0], dict.fromkeys(house.ids, nobody()))
    with pytest.raises(ShapeError):
        house.combine(secrets, answers, house.encode(nobody(2)), house.ids[0])


def test_pair_with_itself_or_a_stranger_is_refused() -> None:
    house = House(3)
    for name in (house.ids[0], PartnerId("stranger")):
        with pytest.raises(ScoreRefusalError, match="S02"):
            house.keys[house.ids[0]].peer(name)


def test_both_sides_of_a_pair_keep_one_secret() -> None:
    house = House(3)
    first, second = (house.keys[name] for name in house.ids[:2])
    one, other = first.peer(second.me), second.peer(first.me)
    assert one.lasting.expose() == other.lasting.expose()
    assert one.mask_info == other.mask_info
    assert first.peer(second.me) is one
    assert first.digest == house.manifest.digest != digest("manifest")
