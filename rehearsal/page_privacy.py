"""The page's words on privacy: what was claimed, for whom, and what is left to spend."""

from collections.abc import Mapping
from dataclasses import fields

from markupsafe import Markup

from rehearsal import figures
from rehearsal.published import ByHonest, LostAttempt, Privacy
from rehearsal.results import Result

Row = Mapping[str, object]

_NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_PURPOSES = {
    "bins": "finding bin edges",
    "gradient": "training",
    "recalibration": "recalibration",
    "overlap": "counting who is known to whom",
    "evaluation": "evaluation",
}
_PERSONS = {"training": "persons in training", "holdout": "persons in the hold-out"}
_CASES = (
    (
        "all_honest",
        "all are honest",
        "Nobody shares what it knows: the noise of all counts.",
    ),
    (
        "half_collude",
        "half collude",
        (
            "As many partners as the plan assumes at most work together with the coordinator "
            "and take their own noise out; that of h honest ones is left."
        ),
    ),
    (
        "others_collude",
        "everyone else colludes",
        (
            "All other partners and the coordinator against one: only that partner's own noise "
            "counts, and only the rows that it holds are unknown to them."
        ),
    ),
    ("largest", "the largest", "The worst of all cases from one honest partner to all."),
    ("claimed", "claimed and charged", "The worst from half collude to all are honest."),
)
_MODES = {
    "shared": "shared: each partner adds a part of the noise, and masks hide single uploads",
    "own": "own: each partner's noise suffices alone, and masks hide single uploads",
}


def privacy_part(result: Result) -> Row:
    """Everything under "What it cost in privacy"."""
    privacy = result.record.published.privacy
    spent = _spending(privacy)
    svg = {
        "budget": figures.budget(spent),
        "epsilons": figures.epsilons(
            [label for _, label, _ in _CASES],
            {
                "a person": _values(privacy.person_by_honest),
                "one record": _values(privacy.record_by_honest),
            },
            float(privacy.target),
        ),
        "accounts": figures.accounts(result.record.budgets, result.record.events[-1].run),
    }
    return {
        **_cost(privacy),
        "privacy_svg": {name: Markup(text) for name, text in svg.items()},  # noqa: S704 - our own
        "cases": [
            {
                "name": label,
                "person": getattr(privacy.person_by_honest, name),
                "record": getattr(privacy.record_by_honest, name),
                "meaning": meaning,
            }
            for name, label, meaning in _CASES
        ],
        "mode": _MODES.get(privacy.noise_mode, privacy.noise_mode),
        "m": privacy.max_partners_per_person,
        "honest_fraction": privacy.honest_fraction,
        "rosters": privacy.rosters,
        "bounds": [
            {
                "name": one.name,
                "holders": ", ".join(one.holders),
                "most": one.holders_per_person,
            }
            for one in privacy.blocks
        ],
        "accounts": _accounts(result),
    }


_WITNESSES = {
    "closed_form": "closed form",
    "pld": "dp-accounting PLD",
    "rdp": "dp-accounting RDP",
    "opacus_rdp": "Opacus RDP",
}
"""The accountants of protocol 4.7, as they are printed."""


def _cost(privacy: Privacy) -> Row:
    holders = privacy.max_partners_per_person
    return {
        "privacy_text": (
            f"The plan asked for ε = {privacy.target} at δ = {privacy.delta} for a person, and "
            f"{privacy.person} was spent. A person may be at up to {numeral(holders)} "
            f"partner{'s' if holders > 1 else ''}: the figure for a person covers all of that "
            "person's rows together, the figure for a record one row at one partner. A person "
            "is either in training or in the hold-out, by a public rule, so the larger of the "
            "two lines is what one person has spent."
        ),
        "epsilons": [
            _epsilon_row(privacy, "training"),
            _epsilon_row(privacy, "holdout"),
        ],
        "delta": privacy.delta,
        "unit": privacy.unit,
        "relation": privacy.relation,
        "accountant": privacy.accountant,
        "witnesses": ", ".join(
            f"{label} {privacy.witnesses[name]}"
            for name, label in _WITNESSES.items()
            if name in privacy.witnesses
        ),
        "charges": [
            {
                "purpose": _PURPOSES.get(one.purpose, one.purpose),
                "persons": _PERSONS.get(one.persons, one.persons),
                "attempts": f"{one.attempts:,}",
                "sigma": f"{float(one.sigma):.1f}",
            }
            for one in privacy.charges
        ],
        "protects": (
            "Whoever sees all that was released can tell whether a person was in the data "
            "hardly better than without: the odds of any guess change by a factor of at most "
            f"e^{privacy.person}, except with probability {privacy.delta}, and of at most "
            f"e^{privacy.person_by_honest.largest} however many collude."
        ),
        "trust": f"Trust needed for the claim: {privacy.trust}.",
        "not_protected": privacy.not_protected,
        "aborted": [_lost(one) for one in privacy.lost],
    }


def _epsilon_row(privacy: Privacy, persons: str) -> Row:
    found = privacy.training if persons == "training" else privacy.holdout
    return {
        "who": _PERSONS[persons],
        "person": _cells(found.person),
        "record": _cells(found.record),
        "replace": _cells(found.person_replace_one),
    }


def _cells(found: ByHonest) -> str:
    """Claimed first, then the cases."""
    cases = [getattr(found, one.name) for one in fields(ByHonest) if one.name != "claimed"]
    return f"{found.claimed} ({' / '.join(cases)})"


def _values(found: ByHonest) -> list[float]:
    return [float(getattr(found, name)) for name, _, _ in _CASES]


def _lost(one: LostAttempt) -> Row:
    return {
        "purpose": _PURPOSES.get(one.purpose, one.purpose),
        "round": one.round,
        "attempt": one.attempt,
        "missing": ", ".join(f"{who} ({why})" for who, why in one.missing),
    }


def _accounts(result: Result) -> list[Row]:
    return [
        {
            "partner": budget.partner,
            "who": _PERSONS.get(scope.scope, scope.scope),
            "spent": f"{scope.spent:.4f}",
            "reserved": f"{scope.reserved:.4f}",
            "left": f"{scope.left:.4f}",
            "cap": f"{scope.cap:.4f}",
            "runs": ", ".join(f"{run.run[:8]}: {run.epsilon:.4f}" for run in scope.runs),
        }
        for budget in result.record.budgets
        for scope in budget.scopes
    ]


def _spending(privacy: Privacy) -> list[tuple[str, float]]:
    """Shares of mu squared of a person in training, by purpose."""
    charges = [one for one in privacy.charges if one.persons == "training"]
    total = sum(one.person_units for one in charges) or 1
    spent: dict[str, float] = {}
    for one in charges:
        name = _PURPOSES.get(one.purpose, one.purpose)
        spent[name] = spent.get(name, 0.0) + one.person_units / total
    return list(spent.items())


def numeral(number: int) -> str:
    """A small number as a word."""
    return _NUMERALS[number] if number < len(_NUMERALS) else str(number)
