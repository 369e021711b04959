"""The privacy statement of a release, checked and laid out for people (protocol 4.9).

A statement is shown only if every field is there and its figures follow from the plan and
the charges that it names: who reads it need not trust whoever printed it. The page is one
file without script, made by hand so that the coordinator needs no template engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from consortium.canonical import canonical_json, parse_canonical
from consortium.documents import parse_document
from consortium.errors import DecodeError, TrustError
from consortium.ledger.entries import ReleaseGate
from consortium.plan import TrainingPlan
from consortium.privacy.recomputed import epsilons_of, worst_of
from consortium.release import Level

LEVELS = {
    Level.ALL: "all honest",
    Level.HALF: "half collude",
    Level.ALONE: "everyone else colludes",
    Level.LARGEST: "largest of all cases",
    Level.CLAIMED: "claimed and charged",
}
"""What each column says; "half" is as many as the plan assumes at most (protocol 4.3)."""

SCOPES = {"training": "person in training", "holdout": "person held out"}
RELATIONS = {
    "person": "all rows of one person, added or removed",
    "person_replace_one": "all rows of one person, replaced",
    "record": "one row at one partner, added or removed",
    "record_replace_one": "one row at one partner, replaced",
}

_TEXTS = (
    *("unit", "relation", "trust", "mechanism", "noise_mode", "honest_fraction", "delta"),
    *("delta_times_rows", "target_epsilon", "batch", "clip", "accountant", "sampler", "code"),
    "code_covers",
)
_OTHERS = (
    *("max_partners_per_person", "most_blocks_at_one_partner", "rounds", "blocks", "rosters"),
    *("attempts", "epsilon", "headline", "charges", "accountants", "not_protected"),
)
_GATE_COLUMNS = (
    *("name", "subject", "value", "at_least", "at_most", "low", "high", "verdict", "why"),
)
_CHARGE = (
    *("purpose", "persons", "partners", "attempts", "width", "sensitivity", "variance"),
    *("sigma", "person_units"),
)

Fields = Mapping[str, object]


def statement_of(document: bytes) -> Fields:
    """The statement of a model document, complete and computed again.

    Raises:
        DecodeError: a field is missing.
        TrustError: a figure is not what plan and charges give; the release is not to be used.
    """
    body = _fields(parse_canonical(document), "model document", ("plan", "statement"))
    statement = _fields(body["statement"], "statement", (*_TEXTS, *_OTHERS))
    plan = parse_document(TrainingPlan, canonical_json(body["plan"]))
    charges = _rows(statement["charges"], "charges", _CHARGE)
    figures = epsilons_of(plan, charges)
    shown = _fields(statement["epsilon"], "epsilon", SCOPES)
    for scope, found in figures.items():
        printed = _fields(shown[scope], scope, ("by_honest", *found))
        claims = {name: levels[Level.CLAIMED.value] for name, levels in found.items()}
        if printed["by_honest"] != found or any(printed[n] != claims[n] for n in claims):
            raise TrustError(f"statement: epsilon of {scope} does not follow from its charges")
    attempts = _fields(statement["attempts"], "attempts", ("made", "charged", "aborted"))
    if attempts["charged"] != sum(int(str(one["attempts"])) for one in charges):
        raise TrustError("statement: attempts are not those of its charges")
    for name, claim in headline(body).items():
        if name != "delta" and claim != worst_of(figures, name):
            raise TrustError(f"statement: the headline is not the worst epsilon, {name}")
    return statement


def headline(document: object) -> Fields:
    """The claimed epsilon of a person and of a record, each with those beside it (4.3).

    Raises:
        DecodeError: ``document``, parsed, is no model document with a statement.
    """
    body = _fields(document, "model document", ("statement",))
    statement = _fields(body["statement"], "statement", ("headline", "delta"))
    names = ("record", "person", "record_by_honest", "person_by_honest")
    found = _fields(statement["headline"], "headline", names)
    return {"delta": statement["delta"], **{name: found[name] for name in names}}


def lines(statement: Fields) -> Iterable[str]:
    """The core of the statement as text."""
    for title, value in _summary(statement):
        yield f"{title}: {value}"
    for scope, relation, figures in _epsilons(statement):
        shown = ", ".join(f"{text} {figures[level.value]}" for level, text in LEVELS.items())
        yield f"epsilon, {SCOPES[scope]}, {RELATIONS[relation]}: {shown}"
    for one in _rows(statement["charges"], "charges", _CHARGE):
        yield "charged: " + ", ".join(f"{name} {one[name]}" for name in _CHARGE)
    attempts = _fields(statement["attempts"], "attempts", ("made", "charged", "aborted"))
    aborted = len(_list(attempts["aborted"]))
    yield f"attempts: {attempts['made']} made, {attempts['charged']} charged, {aborted} aborted"
    for name, figure in _accountants(statement):
        yield f"accountant, {name}: {figure}"
    for text in _list(statement["not_protected"]):
        yield f"not protected: {text}"


def page(version: str, statement: Fields, gate: ReleaseGate | None = None) -> str:
    """One self-contained HTML page; whatever is not ours is escaped."""
    charges = _rows(statement["charges"], "charges", _CHARGE)
    attempts = _fields(statement["attempts"], "attempts", ("made", "charged", "aborted"))
    lost = ("purpose", "round", "attempt", "missing", "reasons", "charged")
    blocks = ("name", "holders", "normaliser", "holders_per_person")
    rosters = ("partners", "honest", "attempts")
    heads = ("purpose", "persons", "partners K", "attempts", "d", "Q", "V", "sigma", "units")
    epsilons = (
        (SCOPES[scope], RELATIONS[relation], *(figures[one.value] for one in LEVELS))
        for scope, relation, figures in _epsilons(statement)
    )
    return Template(_PAGE).substitute(
        version=escape(version),
        summary=_table(("field", "value"), _summary(statement)),
        bars=_bars(statement),
        epsilons=_table(("whose", "change", *LEVELS.values()), epsilons),
        charges=_table(heads, ([one[name] for name in _CHARGE] for one in charges)),
        made=_cell(attempts["made"]),
        charged=_cell(attempts["charged"]),
        rosters=_table(rosters, _picked(statement["rosters"], rosters)),
        aborted=_table(lost, _picked(attempts["aborted"], lost)),
        blocks=_table(blocks, _picked(statement["blocks"], blocks)),
        accountants=_table(("accountant", "epsilon"), _accountants(statement)),
        gate=_gate(gate),
        limits="".join(f"<li>{_cell(text)}</li>" for text in _list(statement["not_protected"])),
    )


def _gate(gate: ReleaseGate | None) -> str:
    """Every line of the release gate, good and bad alike (protocol 13.9)."""
    if gate is None:
        return "<p>There is no release gate of this version.</p>"
    heads = ("check", "subject", "value", "interval from", "to", "least", "most", "", "why")
    rows = ([getattr(one, name) for name in _GATE_COLUMNS] for one in gate.checks)
    return f"<p>{'passed' if gate.passed else 'refused'}</p>{_table(heads, rows)}"


def _summary(statement: Fields) -> list[tuple[str, object]]:
    m = statement["max_partners_per_person"]
    return [
        ("unit", statement["unit"]),
        ("relation", statement["relation"]),
        ("trust", statement["trust"]),
        ("mechanism", statement["mechanism"]),
        ("noise mode", statement["noise_mode"]),
        ("share of a roster assumed honest", statement["honest_fraction"]),
        ("target epsilon", statement["target_epsilon"]),
        ("delta", statement["delta"]),
        ("delta times persons (public constants N0)", statement["delta_times_rows"]),
        ("most partners that may hold one person (m)", m),
        ("most blocks at one partner", statement["most_blocks_at_one_partner"]),
        ("clip C", statement["clip"]),
        ("batch", statement["batch"]),
        ("rounds", statement["rounds"]),
        ("sampler", statement["sampler"]),
        ("software", statement["code"]),
        ("its digest covers", statement["code_covers"]),
    ]


def _accountants(statement: Fields) -> list[tuple[str, object]]:
    witnesses = _fields(statement["accountants"], "accountants", ())
    return [("claimed by", statement["accountant"]), *witnesses.items()]


def _epsilons(statement: Fields) -> Iterable[tuple[str, str, Mapping[str, object]]]:
    epsilon = _fields(statement["epsilon"], "epsilon", SCOPES)
    for scope in SCOPES:
        figures = _fields(epsilon[scope], scope, ("by_honest",))["by_honest"]
        by_honest = _fields(figures, scope, tuple(RELATIONS))
        for relation in RELATIONS:
            levels = tuple(level.value for level in LEVELS)
            yield scope, relation, _fields(by_honest[relation], relation, levels)


def _bars(statement: Fields) -> str:
    """The headline of a person as bars, by who colludes."""
    headline = _fields(statement["headline"], "headline", ("person_by_honest",))
    levels = tuple(level.value for level in LEVELS)
    figures = _fields(headline["person_by_honest"], "headline", levels)
    reach = max(float(str(value)) for value in figures.values()) or 1.0
    parts = []
    for row, (level, text) in enumerate(LEVELS.items()):
        value = float(str(figures[level.value]))
        width, top = 360 * value / reach, 22 * row
        parts.append(
            f'<text x="170" y="{top + 14}" text-anchor="end">{text}</text>'
            f'<rect x="178" y="{top + 3}" width="{width:.1f}" height="15" fill="#1f5fa8"/>'
            f'<text x="{184 + width:.1f}" y="{top + 14}">{value:.4f}</text>'
        )
    head = f'<svg role="img" aria-label="epsilon" viewBox="0 0 620 {22 * len(LEVELS)}" '
    return f'{head}font-size="12">{"".join(parts)}</svg>'


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = [
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    if not body:
        return "<p>none</p>"
    names = "".join(f"<th>{_cell(name)}</th>" for name in head)
    return f"<table><tr>{names}</tr>{''.join(body)}</table>"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return escape(", ".join(str(one) for one in value))
    return escape({True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))


def _picked(value: object, names: tuple[str, ...]) -> list[list[object]]:
    return [[row[name] for name in names] for row in _rows(value, "table", names)]


def _rows(value: object, what: str, names: tuple[str, ...]) -> list[Fields]:
    return [_fields(one, what, names) for one in _list(value)]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise DecodeError(f"statement: expected a list, seen {type(value).__name__}")
    return value


def _fields(value: object, what: str, names: Iterable[str]) -> Fields:
    if not isinstance(value, dict):
        raise DecodeError(f"{what}: expected an object, seen {type(value).__name__}")
    if missing := [name for name in names if name not in value]:
        raise DecodeError(f"{what} lacks {', '.join(missing)}")
    return value


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>RiskWeave privacy statement</title><style>
body { max-width: 1040px; margin: 2em auto; padding: 0 1.5em; color: #27313b;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
table { border-collapse: collapse; margin: .6em 0; } svg { max-width: 620px; display: block; }
td, th { text-align: left; vertical-align: top; padding: 4px 9px; font-size: 14px;
  border-bottom: 1px solid #dfe4e9; overflow-wrap: anywhere; }
</style></head><body>
<h1>Privacy statement</h1>
<p>Model <code>$version</code>. Every epsilon was computed again from the plan and the charges
below before this page was written.</p>
$summary
<h2>What a person has spent</h2>
$bars $epsilons
<p>A person is in training or held out, never both, so the larger figure counts. The columns
differ in who works together against the person: nobody, as many partners as the plan assumes at
most, or all others together with the coordinator.</p>
<h2>What was released</h2>
$charges
<p>Q: most that one row moves the integer sum (L2). V: variance of each partner's noise. sigma:
its deviation over Q. units: charge in 2<sup>-40</sup> mu squared.</p>
<h2>Attempts: $made made, $charged charged</h2>
$rosters
<p>honest: fewest members of the roster with whom the claim holds.</p>
<h3>Aborted</h3>
$aborted
<h2>Blocks</h2>
$blocks
<p>holders_per_person: most holders of the block that may hold one person, as agreed in the
manifest: a statement about the market, not a measurement.</p>
<h2>Accountants</h2>
$accountants
<h2>Release gate</h2>
$gate
<h2>What is not protected</h2>
<ul>$limits</ul>
</body></html>
"""
