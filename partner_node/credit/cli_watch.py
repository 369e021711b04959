"""Verbs of ``riskweave desk`` for following up and for people's rights."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consortium.credit.early_warning import Precision
from consortium.credit.terms import ConsentPurpose, ppm_text
from partner_node import wiring
from partner_node.credit import people, storage_watch, watching
from partner_node.credit.behaviour import Ginis
from partner_node.credit.cli import add_verb, show
from partner_node.credit.lines import lines_source
from partner_node.credit.opening import open_service
from partner_node.credit.people import Deletion, Retention, RightsPorts
from partner_node.credit.rules import FOLDER
from partner_node.credit.watching import WatchPorts

if TYPE_CHECKING:
    from typing import TypeAlias

    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

_STEPS = ("fit", "run", "list", "measure")


def add_verbs(verbs: "Verbs") -> None:
    """Add ``watch``, ``withdraw``, ``delete`` and ``sweep``."""
    text = "follow up lines: fit the behaviour score, judge new months, list flags, measure"
    verb = add_verb(verbs, "watch", _watch, text)
    verb.add_argument("step", choices=_STEPS)
    verb.add_argument("--level", type=int, default=1, help="list: flags from this level on")
    verb.add_argument("--stage", type=int, default=1, help="list: lines from this stage on")
    text = "end a person's consents here, or take up new ones; it counts from the next call on"
    verb = add_verb(verbs, "withdraw", _withdraw, text)
    verb.add_argument("person", metavar="PERSON", help="identifier, as applications name it")
    verb.add_argument(
        "--purpose", action="append", required=True, choices=tuple(ConsentPurpose)
    )
    _lines_argument(verb)
    verb.add_argument("--restore", action="store_true", help="the person has consented anew")
    verb = add_verb(verbs, "delete", _delete, "delete a person at this node; keeps a record")
    verb.add_argument("person", metavar="PERSON", help="identifier, as applications name it")
    verb.add_argument("--request", required=True, help="your own name of the request")
    verb.add_argument("--received", required=True, help="day of the request, YYYY-MM-DD")
    _lines_argument(verb)
    text = "drop what policy keeps no longer; for a timer, may be called at any time"
    add_verb(verbs, "sweep", _sweep, text)


def _lines_argument(verb: argparse.ArgumentParser) -> None:
    text = "a line or case of the person beside those that are followed up"
    verb.add_argument("--line", action="append", default=[], metavar="REF", help=text)


# --- following up -----------------------------------------------------------------------------


@contextmanager
def _watch_ports(arguments: argparse.Namespace) -> Iterator[WatchPorts]:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        today = service.today()
        yield WatchPorts(
            store=service.ports.store,
            source=lines_source(arguments.directory / FOLDER),
            subject=service.ports.subject,
            policy=service.ports.rules.at(today).rules.policy,
            today=today,
            now=service.ports.now(),
        )


def _watch(arguments: argparse.Namespace) -> int:
    steps = {"fit": _fit, "run": _run, "list": _list, "measure": _measure}
    return steps[arguments.step](arguments)


def _fit(arguments: argparse.Namespace) -> int:
    with _watch_ports(arguments) as ports:
        _, ginis = watching.fit_behaviour(ports)
    found = {"lines": ginis.lines, "gini": ginis.behaviour, "gini_limit": ginis.limit}
    return show(found, [_gini_line(ginis)], as_json=arguments.json)


def _gini_line(ginis: Ginis) -> str:
    behaviour, limit = (_text(one) for one in (ginis.behaviour, ginis.limit))
    return (
        f"Gini of the behaviour score on {ginis.lines:,} lines held out: {behaviour}; of the "
        f"limit alone {limit}"
    )


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _run(arguments: argparse.Namespace) -> int:
    with _watch_ports(arguments) as ports:
        ran = watching.run(ports)
        with ports.store.reading() as connection:
            counts = storage_watch.counts(connection)
    newest = max((on for on, _, _ in counts), default="")
    stages = {stage: lines for on, stage, lines in counts if on == newest}
    lines = [
        f"{ran.lines:,} lines, {ran.months:,} new months, {ran.events:,} new events",
        *(f"stage {stage} on {newest}: {count:,}" for stage, count in sorted(stages.items())),
    ]
    found = {"lines": ran.lines, "months": ran.months, "events": ran.events, "stages": stages}
    return show(found, lines, as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> int:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service, service.ports.store.reading() as connection:
        rows = storage_watch.newest_months(
            connection, level=arguments.level, stage=arguments.stage
        )
        today = service.today().isoformat()
    current = [row for row in rows if not row["level"] or str(row["expires"]) >= today]
    lines = [
        f"{row['line']}  level {row['level']} {row['signs'] or '-'}  stage {row['stage']} "
        f"{row['triggers'] or '-'}  {row['use']}  PD3m {_share(row['pd3'])}"
        for row in current
    ]
    return show(current, lines or ["no flags"], as_json=arguments.json)


def _share(value: object) -> str:
    return ppm_text(value) if isinstance(value, int) else "n/a"


def _measure(arguments: argparse.Namespace) -> int:
    with _watch_ports(arguments) as ports:
        found, ginis = watching.measure_lines(ports)
    lead = found.lead_days
    days = "n/a" if lead is None else f"{float(lead):.0f} days"
    by_level, by_score = found.precision_by_level, found.precision_by_score
    lines = [
        _gini_line(ginis),
        f"median lead of a flag before 30 days past due, {len(found.leads):,} lines: {days}",
        f"bad among the twentieth with most signs: {_precision(by_level)}",
        f"bad among the twentieth with the worst score: {_precision(by_score)}",
    ]
    plain = {
        "gini": ginis.behaviour,
        "gini_limit": ginis.limit,
        "lead_days": None if lead is None else float(lead),
        "lines_late": len(found.leads),
        "lift_by_level": _lift(by_level),
        "lift_by_score": _lift(by_score),
    }
    return show(plain, lines, as_json=arguments.json)


def _lift(found: Precision | None) -> float | None:
    return None if found is None or found.lift is None else float(found.lift)


def _precision(found: Precision | None) -> str:
    if found is None or found.lift is None:
        return "n/a"
    return (
        f"{float(found.alerted):.1%}, {float(found.lift):.1f} times the "
        f"{float(found.base):.1%} of all"
    )


# --- people's rights --------------------------------------------------------------------------


@contextmanager
def _rights(arguments: argparse.Namespace) -> Iterator[RightsPorts]:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        yield RightsPorts(
            store=service.ports.store,
            node=people.NodeRecords(desk),
            subject=service.ports.subject,
            now=service.ports.now(),
            today=service.today(),
            retention=Retention.read(arguments.directory / FOLDER),
        )


def _withdraw(arguments: argparse.Namespace) -> int:
    purposes = [ConsentPurpose(one) for one in arguments.purpose]
    with _rights(arguments) as ports:
        if arguments.restore:
            people.restore(ports, arguments.person, purposes)
            gone: dict[str, int] = {}
        else:
            gone = people.withdraw(ports, arguments.person, purposes, arguments.line)
    word = "restored" if arguments.restore else "withdrawn"
    lines = [f"{word}: {', '.join(purposes)}"]
    lines += [f"{name}: {rows} rows" for name, rows in gone.items() if rows]
    return show({word: list(purposes), "rows": gone}, lines, as_json=arguments.json)


def _delete(arguments: argparse.Namespace) -> int:
    with _rights(arguments) as ports:
        record = people.delete(
            ports,
            arguments.person,
            request=arguments.request,
            received=arguments.received,
            lines=arguments.line,
        )
    return show(record.plain(), _deletion_lines(record), as_json=arguments.json)


def _deletion_lines(record: Deletion) -> list[str]:
    return [
        f"request {record.request}: received {record.received}, closed {record.closed}",
        *(f"{one.place}: {one.rows} rows erased" for one in record.erased if one.rows),
        f"decisions kept without the person: {record.kept_decisions}"
        + (f", until {record.kept_until}" if record.kept_until else ""),
        f"tokens dropped at epochs: {', '.join(map(str, record.epochs)) or 'none'}",
        f"models that may have seen the person: {len(record.models)}; {record.action}",
        f"rows left under the person: {record.rows_left}",
    ]


def _sweep(arguments: argparse.Namespace) -> int:
    with _rights(arguments) as ports:
        gone = people.sweep(ports)
    lines = [f"{name}: {rows} rows dropped" for name, rows in gone.items() if rows]
    return show(gone, lines or ["nothing was over its time"], as_json=arguments.json)
