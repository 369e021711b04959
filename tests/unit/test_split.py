import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.errors import ConfigurationError
from consortium.privacy.accountant import epsilon_of_units, units_of
from consortium.privacy.split import split_epsilon


@given(
    epsilon=st.integers(500, 80_000),
    share=st.integers(100, 9_000),
    delta=st.sampled_from(["1e-5", "1e-6", "0.0000001"]),
)
@settings(max_examples=40)
def test_both_parts_together_never_cost_more_than_the_whole(
    epsilon: int, share: int, delta: str
) -> None:
    whole, part = f"{epsilon / 10_000:.4f}", f"{share / 10_000:.4f}"
    units = [units_of(float(one), float(delta)) for one in split_epsilon(whole, delta, part)]
    assert sum(units) <= units_of(float(whole), float(delta))
    assert epsilon_of_units(sum(units), float(delta)) <= float(whole)


def test_share_is_one_of_mu_squared_and_little_is_lost() -> None:
    rest, part = split_epsilon("1", "1e-6", "0.12")
    units = [units_of(float(one), 1e-6) for one in (rest, part)]
    whole = units_of(1.0, 1e-6)
    assert units[1] / whole == pytest.approx(0.12, abs=1e-3)
    assert sum(units) / whole > 0.999
    assert float(rest) + float(part) > 1  # epsilons do not add up


@pytest.mark.parametrize(
    ("total", "share"), [("1", "0"), ("1", "1"), ("1", "x"), ("0.0001", "0.5"), ("0", "0.5")]
)
def test_parts_that_would_be_nothing_are_refused(total: str, share: str) -> None:
    with pytest.raises(ConfigurationError):
        split_epsilon(total, "1e-6", share)
