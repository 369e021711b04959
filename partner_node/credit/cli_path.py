"""Verbs of ``riskweave desk`` for papers and the way back: arguments in, lines out."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from consortium.credit.cost import Channel, sheet_digest
from consortium.credit.ladder import State, Step
from consortium.credit.offers import Offer
from consortium.credit.pack import Language
from consortium.credit.terms import Money
from consortium.documents import plain_of
from consortium.errors import ConfigurationError
from partner_node import wiring
from partner_node.credit.application import DeskService
from partner_node.credit.cli import add_verb, show
from partner_node.credit.counsel_paper import counsel_paper
from partner_node.credit.document import Paper, money, percent
from partner_node.credit.forms import LARGEST_FILE, parse_json
from partner_node.credit.house_terms import terms_at
from partner_node.credit.notices import module_paper, modules_of
from partner_node.credit.opening import open_service, schema_of
from partner_node.credit.papers import FORMATS, PaperDesk, plain_offered, printed
from partner_node.credit.path import Counselled, PathDesk, Standing
from partner_node.credit.path_forms import (
    RestartAsked,
    counsel_asked,
    restart_asked,
    restarts_asked,
)
from partner_node.keystore import read_file, write_file

if TYPE_CHECKING:
    Verbs: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

_SHEET_ACTIONS = ("make", "show", "confirm", "choose", "sign")
_LADDER_STEPS = ("offer", "show", *(one.value.lower() for one in Step))
_COUNSEL_ACTIONS = ("open", "show", "due", "done")


def add_verbs(verbs: "Verbs") -> None:
    """Add them."""
    verb = add_verb(verbs, "notice", _notice, "the decision notice, as HTML or PDF")
    verb.add_argument("id", metavar="ID", help="of the decision, 64 hex")
    _add_output(verb)
    verb = add_verb(verbs, "offer", _offer, "what suits the applicant, or why nothing does")
    verb.add_argument("id", metavar="ID", help="of the decision, 64 hex")
    verb.add_argument("--repays-arrears", action="store_true", help="the funds pay arrears")
    verb = add_verb(verbs, "list", _list, "all products by total cost, the same for everybody")
    _add_output(verb)
    verb = add_verb(verbs, "sheet", _sheet, "cost sheet: make, show, confirm, choose, sign")
    verb.add_argument("action", choices=_SHEET_ACTIONS)
    verb.add_argument("id", metavar="ID", help="of the decision (make), else of the sheet")
    verb.add_argument("addon", metavar="ADDON", nargs="?", default="", help="code (choose)")
    verb.add_argument("--channel", default=Channel.ONLINE.value, choices=tuple(Channel))
    said = verb.add_mutually_exclusive_group()
    said.add_argument("--take", action="store_true", help="the borrower takes the add-on")
    said.add_argument("--leave", action="store_true", help="the borrower does not")
    _add_output(verb)
    text = "tier of a closed line's borrower, or of a list of them, from a JSON file"
    verb = add_verb(verbs, "restart", _restart, text)
    verb.add_argument(
        "file", metavar="FILE", help="one closed line, or a list; - reads standard input"
    )
    verb = add_verb(verbs, "ladder", _ladder, "the rebuild ladder of a line of tier B")
    verb.add_argument("line", metavar="LINE", help="the partner's own reference")
    verb.add_argument("step", choices=_LADDER_STEPS)
    verb.add_argument("--on", help="YYYY-MM-DD; of a payment its due date; none: today")
    verb.add_argument("--applied", action="store_true", help="the borrower came themselves")
    verb = add_verb(verbs, "counsel", _counsel, "counselling cases: open, show, due, done")
    verb.add_argument("action", choices=_COUNSEL_ACTIONS)
    verb.add_argument("case", metavar="CASE", nargs="?", default="", help="or FILE (open)")
    verb.add_argument("--due", help="day of the follow-up that was done, YYYY-MM-DD")
    _add_output(verb)
    verb = add_verb(verbs, "learn", _learn, "education modules of reason codes")
    verb.add_argument("codes", metavar="CODE", nargs="+", help="such as R01")
    _add_output(verb)


def _add_output(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--lang", choices=tuple(Language), help="none: the pack's own")
    verb.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    verb.add_argument("--out", type=Path, help="file to write; none: standard output")


# --- opening ----------------------------------------------------------------------------------


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[tuple[DeskService, PaperDesk]]:
    desk = wiring.open_desk(arguments.directory)
    with open_service(desk) as service:
        yield service, PaperDesk(service, arguments.directory, schema_of(desk))


def _language(arguments: argparse.Namespace, service: DeskService) -> Language:
    if arguments.lang:
        return Language(arguments.lang)
    return service.ports.rules.at(service.today()).rules.pack.default_language


def _write(arguments: argparse.Namespace, paper: Paper, found: dict[str, object]) -> int:
    """Write the paper where it was asked for, and say so."""
    data = printed(paper, arguments.format)
    if arguments.out is not None:
        write_file(arguments.out, data)
        found = {**found, "written": str(arguments.out), "bytes": len(data)}
        return show(found, [f"{arguments.out}: written"], as_json=arguments.json)
    if arguments.json:
        return show({**found, "texts": list(paper.texts())}, [], as_json=True)
    sys.stdout.buffer.write(data)
    return 0


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text[:20]!r}: expected YYYY-MM-DD") from error


def _parsed(path: str) -> object:
    data = sys.stdin.buffer.read() if path == "-" else read_file(Path(path))
    return parse_json(data, most=LARGEST_FILE)


# --- papers -----------------------------------------------------------------------------------


def _notice(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (service, papers):
        noticed = papers.noticed(arguments.id)
        paper = papers.notice(arguments.id, _language(arguments, service))
    found: dict[str, object] = {
        "decision": arguments.id,
        "outcome": noticed.outcome,
        "codes": list(noticed.codes),
        "language": paper.language,
    }
    return _write(arguments, paper, found)


def _offer(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (_, papers):
        offered = papers.offers(arguments.id, repays_arrears=arguments.repays_arrears)
    found = plain_offered(offered)
    lines = [
        f"{one.product}: {money(one.terms.amount)} over {one.terms.months} months at "
        f"{percent(one.terms.price_apr)}, total cost {_minor(one, one.total_cost)}"
        for one in offered.offers
    ]
    if not offered.offers:
        lines = [f"none suits: {', '.join(offered.why)}; counselling is offered instead"]
    return show(found, lines, as_json=arguments.json)


def _minor(offer: Offer, minor: int) -> str:
    return money(Money(minor, offer.terms.amount.currency))


def _list(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (service, papers):
        lines = papers.listed()
        paper = papers.list_paper(_language(arguments, service))
    if arguments.out is None and not arguments.json:
        words = [
            f"{one.product}  {percent(one.price_apr)}  cost {one.total_cost:,} minor units"
            for one in lines
        ]
        return show(None, words, as_json=False)
    return _write(arguments, paper, {"products": [plain_of(one) for one in lines]})


def _sheet(arguments: argparse.Namespace) -> int:
    actions = {
        "make": _make_sheet,
        "show": _show_sheet,
        "confirm": _confirm_sheet,
        "choose": _choose,
        "sign": _sign,
    }
    with _opened(arguments) as (service, papers):
        return actions[arguments.action](arguments, service, papers)


def _make_sheet(arguments: argparse.Namespace, service: DeskService, papers: PaperDesk) -> int:
    sheet = papers.make_sheet(arguments.id)
    digest = sheet_digest(sheet)
    found: dict[str, object] = {"sheet": digest, "cost_sheet": plain_of(sheet)}
    if arguments.out is None:
        lines = [
            f"sheet {digest}",
            f"{money(sheet.amount)}, total cost {money(sheet.total_cost)}",
            f"effective {percent(sheet.effective)}, nominal {percent(sheet.nominal)}",
        ]
        return show(found, lines, as_json=arguments.json)
    paper = papers.sheet_paper(digest, _language(arguments, service))
    return _write(arguments, paper, found)


def _show_sheet(arguments: argparse.Namespace, service: DeskService, papers: PaperDesk) -> int:
    paper = papers.sheet_paper(arguments.id, _language(arguments, service))
    at = papers.show_sheet(arguments.id, arguments.channel)
    return _write(arguments, paper, {"sheet": arguments.id, "shown_at": at})


def _confirm_sheet(arguments: argparse.Namespace, _: DeskService, papers: PaperDesk) -> int:
    made = papers.confirm_sheet(arguments.id)
    seconds = made.confirmed_at - made.shown_at
    lines = [f"confirmed {seconds} s after it was shown ({made.channel})"]
    return show(plain_of(made), lines, as_json=arguments.json)


def _choose(arguments: argparse.Namespace, _: DeskService, papers: PaperDesk) -> int:
    if not arguments.addon or arguments.take == arguments.leave:
        raise ConfigurationError("choose: name the ADDON, and say --take or --leave")
    papers.choose(arguments.id, arguments.addon, taken=arguments.take)
    word = "taken" if arguments.take else "left"
    found = {"sheet": arguments.id, "addon": arguments.addon, "taken": arguments.take}
    return show(found, [f"{arguments.addon}: {word}"], as_json=arguments.json)


def _sign(arguments: argparse.Namespace, _: DeskService, papers: PaperDesk) -> int:
    made = papers.sign(arguments.id)
    found = {"decision": made.decision, "sheet": made.sheet, "addons": made.addons.split()}
    lines = [f"contract under {made.decision[:12]} names sheet {made.sheet}"]
    return show({**found, "at": made.at}, lines, as_json=arguments.json)


# --- the way back -----------------------------------------------------------------------------


def _restart(arguments: argparse.Namespace) -> int:
    plain = _parsed(arguments.file)
    if isinstance(plain, list):
        return _restart_all(arguments, restarts_asked(plain))
    asked = restart_asked(plain)
    with _opened(arguments) as (service, _):
        made = PathDesk(service).restart(asked)
    contact = "may be contacted" if made.may_contact else "may not be contacted, may apply"
    lines = [f"{made.line}: tier {made.tier}; {contact}"]
    lines += [f"kept out of a better tier by {', '.join(made.bars)}"] if made.bars else []
    if made.limit and made.price is not None:
        limit = money(Money(made.limit, made.currency))
        lines.append(f"reinstated: {limit} at {percent(made.price)}")
    lines += ["counselling first"] if made.counselling_first else []
    lines += [f"looked at again by {made.again_on}"] if made.again_on else []
    return show(plain_of(made), lines, as_json=arguments.json)


def _restart_all(arguments: argparse.Namespace, asked: Sequence[RestartAsked]) -> int:
    with _opened(arguments) as (service, _):
        made = PathDesk(service).restart_all(asked)
    counted = Counter(f"tier_{one.tier}" for one in made)
    counted["may_be_contacted"] = sum(one.may_contact for one in made)
    counted["counselling_first"] = sum(one.counselling_first for one in made)
    lines = [f"{len(made)} closed lines are placed"]
    lines += [f"{name}: {number}" for name, number in sorted(counted.items())]
    return show([plain_of(one) for one in made], lines, as_json=arguments.json)


def _ladder(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (service, _):
        path = PathDesk(service)
        if arguments.step == "offer":
            found = path.offer_ladder(arguments.line, applied=arguments.applied)
        elif arguments.step == "show":
            found = path.ladder(arguments.line)
        else:
            day = _day(arguments.on, "--on")
            found = path.step(arguments.line, Step(arguments.step.upper()), on=day)
    return show(_plain_ladder(found), list(_ladder_lines(found)), as_json=arguments.json)


def _plain_ladder(found: Standing) -> dict[str, Any]:
    return {
        "line": found.line,
        "ladder": plain_of(found.ladder),
        "limit": found.limit,
        "currency": found.currency,
        "may_draw": found.ladder.may_draw,
        "payments_owed": found.ladder.payments_owed,
        "steps": [{"step": name, "on": on.isoformat()} for name, on in found.steps],
    }


def _ladder_lines(found: Standing) -> Iterator[str]:
    ladder, limit = found.ladder, money(Money(found.limit, found.currency))
    yield f"{found.line}: {ladder.state}, rung {ladder.rung + 1} of 5, limit {limit}"
    if ladder.payments_owed is not None:
        yield f"{ladder.payments_owed} payments on time lead one rung up"
    if ladder.state is State.FROZEN:
        yield "no new draws until what was missed is paid"
    if ladder.exit is not None:
        yield f"left the ladder: {ladder.exit}"


def _counsel(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (service, _):
        path = PathDesk(service)
        if arguments.action == "due":
            due = path.due()
            found = [{"case": name, "due_on": on.isoformat()} for name, on in due]
            lines = [f"{name}: due on {on}" for name, on in due] or ["nothing is due"]
            return show(found, lines, as_json=arguments.json)
        terms = terms_at(arguments.directory, service.today())
        if arguments.action == "open":
            made = path.counsel(counsel_asked(_parsed(arguments.case)), terms.plans)
        elif arguments.action == "done":
            made = path.done(arguments.case, _due(arguments))
        else:
            made = path.case(arguments.case)
        if arguments.out is not None:
            currency = service.ports.rules.at(service.today()).rules.policy.currency
            paper = counsel_paper(made, terms, _language(arguments, service), currency)
            return _write(arguments, paper, {"case": made.case.case_ref})
    return show(_plain_case(made), list(_case_lines(made)), as_json=arguments.json)


def _due(arguments: argparse.Namespace) -> date:
    day = _day(arguments.due, "--due")
    if day is None:
        raise ConfigurationError("done: say which follow-up with --due YYYY-MM-DD")
    return day


def _plain_case(made: Counselled) -> dict[str, object]:
    done = [
        {"due_on": due.isoformat(), "done_on": None if on is None else on.isoformat()}
        for due, on in made.follow_ups
    ]
    return {"case": plain_of(made.case), "filed": made.filed, "follow_ups": done}


def _case_lines(made: Counselled) -> Iterator[str]:
    case = made.case
    filed = "filed" if made.filed else "advice without a file: no consent to COUNSELLING"
    yield f"{case.case_ref}: opened on {case.opened_on}; {filed}"
    if case.budget is not None:
        yield f"a month leaves {case.budget.left:,} minor units"
    for option in case.options:
        months = len(option.rows)
        yield f"{option.plan}: {option.required:,} in the heaviest of {months} months"
    for due, on in made.follow_ups:
        yield f"follow-up on {due}: {f'done on {on}' if on else 'open'}"


def _learn(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as (service, _):
        schema = schema_of(wiring.open_desk(arguments.directory))
        modules = modules_of(tuple(arguments.codes), schema)
        language = _language(arguments, service)
        lender = terms_at(arguments.directory, service.today()).lender.of(language)
    found: dict[str, object] = {"modules": [plain_of(one) for one in modules]}
    if arguments.out is not None:
        if len(modules) != 1:
            raise ConfigurationError("--out: one module a file; name one CODE")
        return _write(arguments, module_paper(modules[0], language, lender), found)
    lines: list[str] = []
    for one in modules:
        zh = language is Language.ZH
        texts: Sequence[str] = one.zh if zh else one.en
        lines += [f"{one.topic} {one.title_zh if zh else one.title_en}", *texts, ""]
    return show(found, lines[:-1], as_json=arguments.json)
