"""Our closed formula against the accountants of others (protocol 4.7, 4.8)."""

import math
from functools import cache

import pytest
from opacus.accountants import RDPAccountant

from consortium.errors import DecodeError, DomainError, TrustError
from consortium.privacy.accountant import epsilon_of, epsilon_of_units, mu_of
from consortium.privacy.witnesses import (
    Witnesses,
    check_witnesses,
    cross_check,
    pld_epsilon,
    poisson_units,
    rdp_epsilon,
)
from models.opacus_witness import opacus_epsilon, witnesses_of

ROUNDS = 60
DELTA = 1e-6
FIELDS = {"closed_form": "exact", "pld": "pld", "rdp": "rdp"}
RDP_4_7 = {0.5: 0.541, 1.0: 1.078, 3.0: 3.215, 8.0: 8.523}


@cache
def poisson_pld(partners: int) -> float:
    """The example of protocol 4.8: q = 0.05, sigma = 1, 60 steps at each partner."""
    return pld_epsilon(1.0, 60 * partners, DELTA, sample_rate=0.05)


@pytest.mark.parametrize("epsilon", RDP_4_7)
def test_figures_of_4_7_at_full_batch(epsilon: float) -> None:
    sigma = math.sqrt(ROUNDS) / mu_of(epsilon, DELTA)
    assert pld_epsilon(sigma, ROUNDS, DELTA) == pytest.approx(epsilon, abs=1e-4)
    rdp = rdp_epsilon(sigma, ROUNDS, DELTA)
    assert rdp == pytest.approx(RDP_4_7[epsilon], abs=6e-4)
    opacus = RDPAccountant()
    opacus.history = [(sigma, 1.0, ROUNDS)]
    assert opacus.get_epsilon(DELTA) == pytest.approx(rdp, rel=1e-3)


@pytest.mark.parametrize("delta", [1e-5, 1e-6, 1e-7, 1e-8, 1e-9])
@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5])
def test_accountants_agree_on_the_grid(epsilon: float, delta: float) -> None:
    found = cross_check(mu_of(epsilon, delta), delta)
    assert found.exact == pytest.approx(epsilon, abs=1.1e-4)


@pytest.mark.parametrize("delta", [1e-5, 1e-6, 1e-9])
@pytest.mark.parametrize("epsilon", [0.05, 0.2, 1, 3, 8])
def test_opacus_agrees_with_the_other_renyi_accountant_and_is_above_the_claim(
    epsilon: float, delta: float
) -> None:
    mu = mu_of(epsilon, delta)
    found = opacus_epsilon(mu, delta)
    assert found == pytest.approx(rdp_epsilon(1 / mu, 1, delta), rel=0.01)
    assert epsilon <= found


def test_statement_is_shown_with_the_figure_of_opacus() -> None:
    found = witnesses_of(stated())
    assert set(found) == {"closed_form", "pld", "rdp", "library", "opacus_rdp"}
    assert float(found["opacus_rdp"]) == pytest.approx(float(found["rdp"]), rel=0.01)
    assert witnesses_of({"accountants": {}, "delta": "1e-6"}) == {}


@pytest.mark.parametrize(
    "change", [{"closed_form": "0.8000"}, {"rdp": "1.1500"}, {"rdp": "1.0100"}]
)
def test_statement_that_opacus_does_not_confirm_is_not_believed(
    change: dict[str, str],
) -> None:
    with pytest.raises(TrustError, match="Opacus"):
        witnesses_of(stated(**change))


@pytest.mark.parametrize(
    "statement",
    [
        {},
        {"accountants": "none"},
        {"accountants": {"closed_form": "1"}, "delta": "1e-6"},
        {"accountants": {"closed_form": "1", "pld": "1", "rdp": "x"}, "delta": "1e-6"},
    ],
)
def test_statement_without_figures_to_confirm_is_refused(statement: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        witnesses_of(statement)


def stated(**change: str) -> dict[str, object]:
    found = cross_check(mu_of(1.0, DELTA), DELTA)
    figures = {name: f"{getattr(found, field):.4f}" for name, field in FIELDS.items()}
    return {
        "accountants": figures | {"library": "dp-accounting 0.6"} | change,
        "delta": "0.000001",
    }


def test_replace_one_is_epsilon_at_twice_mu() -> None:
    mu = mu_of(1.0, DELTA)
    found = pld_epsilon(1 / mu, 1, DELTA, replace=True)
    assert found == pytest.approx(epsilon_of(2 * mu, DELTA), abs=2e-4)


@pytest.mark.parametrize(
    ("exact", "pld", "rdp"),
    [(1, 1.0012, 1.08), (1, 0.9988, 1.08), (1, 1, 0.999), (1, 1, 1.151), (0.1, 0.1003, 0.11)],
)
def test_release_with_disagreeing_accountants_is_blocked(
    exact: float, pld: float, rdp: float
) -> None:
    with pytest.raises(TrustError):
        check_witnesses(Witnesses(exact=exact, pld=pld, rdp=rdp))


def test_release_with_agreeing_accountants_passes() -> None:
    check_witnesses(Witnesses(exact=1, pld=1.0009, rdp=1.149))
    check_witnesses(Witnesses(exact=1, pld=0.9991, rdp=1))


@pytest.mark.parametrize(("partners", "epsilon"), [(1, 3.40), (2, 4.42), (4, 5.96)])
def test_poisson_steps_cost_what_4_8_says(partners: int, epsilon: float) -> None:
    assert poisson_pld(partners) == pytest.approx(epsilon, abs=6e-3)


def test_rdp_of_poisson_steps_is_above_the_pld() -> None:
    rdp = rdp_epsilon(1.0, 60, DELTA, sample_rate=0.05)
    assert rdp == pytest.approx(3.93, abs=6e-3)
    assert rdp > poisson_pld(1)


def test_units_of_poisson_steps_bound_the_pld_also_when_composed() -> None:
    units = poisson_units(1.0, 60, DELTA, sample_rate=0.05)
    alone = poisson_pld(1)
    assert alone <= epsilon_of_units(units, DELTA) <= 1.15 * alone
    # with a Gaussian release of epsilon 1 beside it, against the PLD of both together
    gaussian = mu_of(1.0, DELTA)
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent  # noqa: PLC0415 - heavy
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415 - heavy

    both = PLDAccountant()
    both.compose(PoissonSampledDpEvent(0.05, GaussianDpEvent(1.0)), 60)
    both.compose(GaussianDpEvent(1 / gaussian))
    total = units + math.ceil(gaussian**2 * 2**40)
    assert both.get_epsilon(DELTA) <= epsilon_of_units(total, DELTA)


def test_sampling_at_rate_one_is_the_full_batch() -> None:
    full = epsilon_of(math.sqrt(10) / 8, DELTA)
    assert pld_epsilon(8.0, 10, DELTA, sample_rate=1.0) == pytest.approx(full, abs=2e-4)
    units = poisson_units(8.0, 10, DELTA, sample_rate=1.0)
    assert epsilon_of_units(units, DELTA) == pytest.approx(full, abs=1e-3)


@pytest.mark.parametrize(("sigma", "rate"), [(0.0, 1.0), (1.0, 0.0), (1.0, 1.1), (math.inf, 1)])
def test_event_outside_its_domain_is_refused(sigma: float, rate: float) -> None:
    with pytest.raises(DomainError):
        pld_epsilon(sigma, 1, DELTA, sample_rate=rate)
