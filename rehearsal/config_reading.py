"""The rehearsal file: read strictly, so that a misspelt key is an error and not a default.

The plan is handed to the same parser that the coordinator uses, before anything is started.
"""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from consortium.errors import ConfigurationError
from consortium.features.schema import Schema, parse_schema
from consortium.figure_policy import figures_of
from consortium.gates import gate_of
from consortium.ids import Digest, PartnerId, RunId, parse_partner_id
from consortium.manifest import Manifest, Member, Policy, Role
from consortium.plan import ModelKind, TrainingPlan, decimal
from consortium.privacy.split import split_epsilon
from coordinator.calibration import HeadSettings
from coordinator.config import DATABASE
from coordinator.plans import PlanContext, parse_plan
from coordinator.scoring_config import parse_scoring
from rehearsal.config import CreditTest, Party, Rehearsal
from rehearsal.role_files import toml_lines

T = TypeVar("T", str, int)

_TABLES = {
    "rehearsal",
    "plan",
    "block",
    "optimizer",
    "shares",
    "local",
    "partner",
    "head",
    "credit",
}
_PLAN_TABLES = ("plan", "optimizer", "shares", "local")
_HEAD = {
    "title",
    "storage",
    "schema",
    "epsilon",
    "delta",
    "max_partners_per_person",
    "min_partners",
    "vote_quorum",
    "honest_fraction",
    "family_m",
    "scoring",
    "gate",
    "figures",
    "regulator",
}
_PARTNER = {
    "id",
    "families",
    "query",
    "person",
    "label",
    "memory_limit",
    "threads",
    "budget",
    "study_consent",
}
_BUDGET = {"run_epsilon", "lifetime_epsilon", "tables_epsilon"}
_HEAD_RUN = {
    "share",
    "rounds",
    "clip",
    "learning_rate",
    "tail",
    "overlap",
    "askers",
    "normaliser",
}
_CREDIT = {"rules", "product", "purpose", "amount", "currency", "tenor_months", "income"}
_NOBODY = Digest("0" * 64)


def load_rehearsal(path: Path, *, epsilon: str | None = None) -> Rehearsal:
    """Read a rehearsal file and check it as far as it can be without the data.

    Args:
        path: The file.
        epsilon: Replaces the file's, if given.

    Raises:
        ConfigurationError: naming the file and the key.
    """
    document = _toml(_text(path), path)
    try:
        return _rehearsal_of(document, path.resolve(), epsilon)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _rehearsal_of(document: Mapping[str, object], path: Path, epsilon: str | None) -> Rehearsal:
    _refuse_unknown(document, _TABLES, "the file")
    head = _table(document, "rehearsal")
    _refuse_unknown(head, _HEAD, "[rehearsal]")
    target = epsilon or _decimal(head, "epsilon", "1")
    decimal(target, "epsilon", low="0.01", high="8")
    parties = tuple(_party(item, target) for item in _tables(document, "partner"))
    _check_parties(parties)
    policy = _policy(head, target, parties)
    schema_path = path.parent / _get(head, "schema", str, "schema.toml")
    schema = parse_schema(_text(schema_path), source=str(schema_path))
    rest, calibration = _head(document, target, policy.delta)
    plan_text = _plan_text(document, rest)
    return Rehearsal(
        title=_get(head, "title", str, path.parent.name),
        epsilon=target,
        path=path,
        schema_path=schema_path,
        schema=schema,
        policy=policy,
        parties=parties,
        plan_text=plan_text,
        plan=_parsed_plan(plan_text, schema, policy, parties),
        head=calibration,
        credit=_credit(document, path.parent, schema, parties),
        storage=_get(head, "storage", str, DATABASE),
        regulator=_regulator(head, parties),
    )


def _regulator(head: Mapping[str, object], parties: tuple[Party, ...]) -> PartnerId | None:
    if "regulator" not in head:
        return None
    name = parse_partner_id(_get(head, "regulator", str))
    if name in {"coordinator", *(party.id for party in parties)}:
        raise ConfigurationError(f"[rehearsal] regulator: {name} is another member")
    return name


def _credit(
    document: Mapping[str, object], directory: Path, schema: Schema, parties: tuple[Party, ...]
) -> CreditTest | None:
    if "credit" not in document:
        return None
    table = _table(document, "credit")
    _refuse_unknown(table, _CREDIT, "[credit]")
    rules = directory / _get(table, "rules", str)
    if not any(rules.glob("policy*.toml")):
        raise ConfigurationError(f"[credit] rules: no policy*.toml in {rules}")
    return CreditTest(
        rules=rules,
        product=_get(table, "product", str),
        purpose=_get(table, "purpose", str),
        amount=_get(table, "amount", int),
        currency=_get(table, "currency", str),
        tenor_months=_get(table, "tenor_months", int),
        income=_get(table, "income", str),
        features={
            party.id: tuple(feature.name for feature in schema.of_families(party.families))
            for party in parties
        },
    )


def _head(
    document: Mapping[str, object], target: str, delta: str
) -> tuple[str, HeadSettings | None]:
    """Epsilon of the base model's run, and what is decided of the head's.

    Together they cost no more than the rehearsal's epsilon (protocol 5.6).
    """
    if "head" not in document:
        return target, None
    table = _table(document, "head")
    _refuse_unknown(table, _HEAD_RUN, "[head]")
    rest, part = split_epsilon(target, delta, _decimal(table, "share", "0.15"))
    askers = table.get("askers", [])
    if not isinstance(askers, list):
        raise ConfigurationError('[head] askers: expected a list such as ["bank_a"]')
    usual = HeadSettings()
    return rest, HeadSettings(
        epsilon=part,
        rounds=_get(table, "rounds", int, usual.rounds),
        clip=_decimal(table, "clip", usual.clip),
        learning_rate=_decimal(table, "learning_rate", usual.learning_rate),
        tail=_decimal(table, "tail", usual.tail),
        overlap=_decimal(table, "overlap", usual.overlap),
        askers=tuple(parse_partner_id(str(name)) for name in askers),
        normaliser=_get(table, "normaliser", int, usual.normaliser),
    )


def _party(item: Mapping[str, object], epsilon: str) -> Party:
    name = parse_partner_id(_get(item, "id", str))
    where = f"[[partner]] {name}"
    _refuse_unknown(item, _PARTNER, where)
    budget = _table(item, "budget")
    _refuse_unknown(budget, _BUDGET, f"{where}: budget")
    families = item.get("families")
    if not isinstance(families, list) or not families:
        raise ConfigurationError(f'{where}: families: expected a list such as ["repayment"]')
    return Party(
        id=name,
        families=tuple(str(family) for family in families),
        query=_get(item, "query", str),
        person=_get(item, "person", str),
        label=_get(item, "label", str),
        memory_limit=_get(item, "memory_limit", str, "1GB"),
        threads=_get(item, "threads", int, 1),
        run_epsilon=_decimal(budget, "run_epsilon", epsilon),
        # A rehearsal's default leaves room for one more run, so that it can be tried.
        lifetime_epsilon=_decimal(budget, "lifetime_epsilon", str(2 * Decimal(epsilon))),
        tables_epsilon=(
            _decimal(budget, "tables_epsilon", epsilon) if "tables_epsilon" in budget else None
        ),
        study_consent=_get(item, "study_consent", str) if "study_consent" in item else None,
    )


def _check_parties(parties: tuple[Party, ...]) -> None:
    names = [party.id for party in parties]
    if len(names) < 2:  # noqa: PLR2004 - one partner is no federation
        raise ConfigurationError(f"[[partner]]: {len(names)} given, at least 2 are needed")
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"[[partner]]: {name} is listed twice")


def _policy(head: Mapping[str, object], epsilon: str, parties: tuple[Party, ...]) -> Policy:
    delta = _decimal(head, "delta", "1e-6")
    decimal(delta, "delta", low="1e-12", high="1e-3")
    # Fewer partners than this in a sum and it is refused; the rehearsal's default lets a
    # run survive the loss of one.
    floor = _get(head, "min_partners", int, max(2, len(parties) - 1))
    quorum = _get(head, "vote_quorum", int, len(parties))
    overlap = _get(head, "max_partners_per_person", int)
    for key, value in (
        ("min_partners", floor),
        ("vote_quorum", quorum),
        ("max_partners_per_person", overlap),
    ):
        if not 1 <= value <= len(parties):
            raise ConfigurationError(
                f"[rehearsal] {key} = {value} is outside 1 to {len(parties)}, the partners"
            )
    caps = [epsilon, *(party.lifetime_epsilon for party in parties)]
    lifetime = max(caps, key=float)
    return Policy(
        min_partners=floor,
        max_partners_per_person=overlap,
        delta=delta,
        max_epsilon_per_run=epsilon,
        max_epsilon_lifetime=lifetime,
        model_kinds=tuple(k.value for k in ModelKind if k is not ModelKind.TABLE),
        code=(),
        vote_quorum=quorum,
        honest_fraction=_decimal(head, "honest_fraction", "0.5"),
        family_m=tuple(sorted(_family_m(head).items())),
        allow_pair=len(parties) == 2,  # noqa: PLR2004 - a rehearsal of two is asked for
        scoring=parse_scoring(_table(head, "scoring"), "[rehearsal.scoring]"),
        gate=gate_of(_table(head, "gate")),
        figures=figures_of(_table(head, "figures")),
    )


def _family_m(head: Mapping[str, object]) -> dict[str, int]:
    table = _table(head, "family_m")
    return {name: _get(table, name, int) for name in table}


def _plan_text(document: Mapping[str, object], epsilon: str) -> str:
    plan = dict(_table(document, "plan"))
    if "epsilon" in plan:
        raise ConfigurationError("[plan] epsilon: it stands in [rehearsal]")
    plan["epsilon"] = epsilon
    lines = toml_lines("[plan]", plan)
    for name in _PLAN_TABLES[1:]:
        if name in document:
            lines += toml_lines(f"[{name}]", _table(document, name))
    for block in _tables(document, "block"):
        lines += toml_lines("[[block]]", block)
    return "\n".join(lines) + "\n"


def _parsed_plan(
    text: str, schema: Schema, policy: Policy, parties: tuple[Party, ...]
) -> TrainingPlan:
    """Parse by the coordinator's own rules, under a stand-in for the manifest to be made."""
    members = tuple(
        Member(
            id=party.id,
            index=index,
            role=Role.PARTNER,
            identity="",
            agreement="",
            witness="",
            tls_spki=_NOBODY,
            families=party.families,
        )
        for index, party in enumerate(parties, start=1)
    )
    for party in parties:
        schema.of_families(party.families)
    manifest = Manifest(
        federation="rehearsal",
        version=1,
        previous=None,
        not_before=0,
        schema=schema.digest,
        members=members,
        policy=policy,
    )
    context = PlanContext(run=RunId("0" * 32), manifest=manifest, schema=schema, code=_NOBODY)
    plan = parse_plan(text, context)
    if plan.model is ModelKind.HAZARD:
        raise ConfigurationError(
            "[plan] model: a rehearsal compares scores, and hazard has none"
        )
    return plan


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text") from error


def _toml(text: str, path: Path) -> Mapping[str, object]:
    try:
        # Decimals keep the digits that were written.
        return tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error


def _refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    if unknown := set(table) - known:
        expected = ", ".join(sorted(known))
        raise ConfigurationError(f"{where}: unknown key {min(unknown)!r}; known: {expected}")


def _table(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} is not a table")
    return value


def _tables(document: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigurationError(f"write [[{name}]], once for each")
    return value


def _get(table: Mapping[str, object], key: str, kind: type[T], default: T | None = None) -> T:
    value = table.get(key, default)
    if value is None:
        raise ConfigurationError(f"{key} is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = {str: "a text in quotes", int: "a whole number"}[kind]
        raise ConfigurationError(f"{key} = {value!r}: expected {expected}")
    return value


def _decimal(table: Mapping[str, object], key: str, default: str) -> str:
    text = str(table.get(key, default))
    decimal(text, key, low="0", high="100")
    return text
