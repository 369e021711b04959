"""The regulator's report: pages and paper of every kind of log, and nothing that runs."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from consortium.errors import ConfigurationError
from consortium.ids import Digest
from consortium.ledger.archive import pack
from consortium.ledger.entries import Incident, ScoreBatch
from consortium.ledger.findings import Check, Finding, Grade
from consortium.ledger.verify import Audit
from consortium.release import Level
from regulator.bundle import audit_bundle
from regulator.checklist import Answer, checklist_of, document_of_checklist
from regulator.checklist_words import QUESTIONS
from regulator.cli import FAILED, WARNED, main
from regulator.figure_words import FIGURES
from regulator.figures import figures_of
from regulator.history import history_of
from regulator.page import page
from regulator.paper import paper
from regulator.report import LANGUAGES, lines, together
from regulator.words import TEXTS
from tests.ledger_house import COORDINATOR, START, House

SCRIPT = '<script>alert("x")</script>'
SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "sp800-226.schema.json"
NOW = START + 1000


def with_everything() -> House:
    """Two lost attempts, inquiries, an incident and a release."""
    house = House(silos=4, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    house.abort(house.names[1])
    house.abort(house.names[1])
    while not house.session.finished:
        house.attempt(house.names[:1] + house.names[2:])
    house.close()
    for second in range(40):
        batch = ScoreBatch(second=START + 90 * second, root=Digest("ab" * 32), count=second + 1)
        house.append(COORDINATOR, batch)
    house.append(house.names[0], Incident(kind="fork", text=Digest("cd" * 32)))
    house.checkpoint()
    return house


def adopted() -> House:
    """A log in which nothing but the manifest was adopted."""
    house = House(silos=3)
    house.adopt()
    return house


def audit_of(files: Mapping[str, bytes], house: House) -> Audit:
    return audit_bundle(pack(files), house.manifest.digest, now=NOW)


@pytest.fixture(scope="module")
def busy() -> House:
    return with_everything()


@pytest.fixture(scope="module")
def audit(busy: House) -> Audit:
    return audit_of(busy.bundle(), busy)


@pytest.fixture(scope="module")
def quiet() -> House:
    return House(silos=3, rounds=1).run()


# --- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_stands_alone_and_runs_nothing(audit: Audit, language: str) -> None:
    text = page(audit, history_of(audit), language)
    assert "<script" not in text
    assert not re.search(r"src=|href=[\"'](?!#)|url\(|@import|https?:", text)
    assert "$" not in text
    assert text.count("8.7(") >= len(Check)
    assert all(
        words in text for words in (TEXTS[language]["h_findings"], FIGURES[language]["table"])
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_of_a_page_leads_somewhere_on_it(audit: Audit, language: str) -> None:
    text = page(audit, history_of(audit), language)
    targets = set(re.findall(r'id="([^"]+)"', text))
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= targets
    assert {f"entry-{index}" for one in audit.findings for index in one.entries[:12]} <= links


def test_every_figure_is_drawn_and_has_its_table(audit: Audit) -> None:
    history = history_of(audit)
    for language in LANGUAGES:
        for figure in figures_of(audit, history, language):
            assert figure.rows, figure.id
            assert {len(row) for row in figure.rows} == {len(figure.heads)}
            assert figure.drawings or figure.id == "words"


def test_both_languages_say_the_same_numbers(audit: Audit) -> None:
    history = history_of(audit)
    english, chinese = (figures_of(audit, history, language) for language in LANGUAGES)
    numbers = re.compile(r"\d+\.\d{4}")
    for one, other in zip(english, chinese, strict=True):
        assert numbers.findall(str(one.rows)) == numbers.findall(str(other.rows))


def test_texts_exist_in_both_languages() -> None:
    for words in (TEXTS, FIGURES):
        assert words["en"].keys() == words["zh"].keys()
    for question in QUESTIONS.values():
        for text in (question.heading, question.question, question.missing):
            assert text.en
            assert text.zh


def test_text_of_a_liar_is_escaped_in_the_page(tmp_path: Path, quiet: House) -> None:
    path, out = tmp_path / "bundle.zip", tmp_path / "report"
    path.write_bytes(pack(quiet.bundle() | {SCRIPT.replace("/", "x"): b""}))
    words = ["report", str(path), "--manifest", quiet.manifest.digest, "--out", str(out)]
    assert main([*words, "--pdf"]) == FAILED
    text = (out / "report.en.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


# --- kinds of logs ----------------------------------------------------------------------------


def test_log_with_nothing_in_it_makes_a_report_that_says_so() -> None:
    house = adopted()
    bare = {n: d for n, d in house.files.items() if n.split("/")[0] == "manifests"}
    for files in (house.bundle(), bare, {}):
        audit = audit_of(files, house)
        history = history_of(audit)
        assert history.points == ()
        for language in LANGUAGES:
            assert FIGURES[language]["none"] in page(audit, history, language)
            assert paper(audit, history, language).startswith(b"%PDF")


def test_log_that_ends_in_the_middle_of_a_run_makes_a_report() -> None:
    house = House(silos=3, rounds=2)
    house.adopt()
    house.commit()
    house.attempt()
    audit = audit_of(house.bundle(), house)
    history = history_of(audit)
    assert [one.number for one in history.points] == [1]
    assert "<svg" in page(audit, history, "en")
    assert paper(audit, history, "zh").startswith(b"%PDF")


# --- numbers ----------------------------------------------------------------------------------


def test_course_of_epsilon_ends_where_the_statement_does(audit: Audit) -> None:
    (release,) = audit.releases
    headline: Any = release.statement["headline"] if release.statement else {}
    last = history_of(audit).points[-1]
    for unit in ("person", "record"):
        for level in Level:
            shown = f"{last.epsilon[unit, level]:.4f}"
            assert shown == headline[f"{unit}_by_honest"][level.value]


def test_epsilon_never_falls_along_the_log(audit: Audit) -> None:
    points = history_of(audit).points
    for level in Level:
        course = [point.epsilon["person", level] for point in points]
        assert course == sorted(course)


def test_attempts_are_counted_as_they_ended(audit: Audit) -> None:
    (run,) = history_of(audit).runs
    assert (run.summed, run.charged, run.free) == (4, 2, 0)


def test_budgets_left_and_spent_are_of_the_debits(audit: Audit, busy: House) -> None:
    accounts = history_of(audit).accounts
    assert {one.partner for one in accounts} == set(busy.names)
    for one in accounts:
        assert 0 < one.spent < one.cap
        assert 0 < one.left < 1


def test_inquiries_are_counted_in_the_finest_span_that_fits(audit: Audit) -> None:
    history = history_of(audit)
    assert history.span == 60
    assert sum(one.count for one in history.inquiries) == 40 * 41 // 2
    assert max(one.peak for one in history.inquiries) == 40


def test_witnesses_are_shown_with_the_heads_that_they_cosigned(audit: Audit) -> None:
    for one in history_of(audit).witnesses:
        assert len(one.sizes) == len(audit.heads)
        assert one.last == audit.head_time


# --- paper ------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_paper_needs_no_font_of_the_machine_and_is_the_same_each_time(
    audit: Audit, language: str
) -> None:
    history = history_of(audit)
    data = paper(audit, history, language)
    assert data == paper(audit, history, language)
    assert (b"/STSong-Light" in data) is (language == "zh")
    assert b"/FontFile" not in data


# --- checklist --------------------------------------------------------------------------------


def test_checklist_has_its_form_and_its_evidence_exists(busy: House, audit: Audit) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    files = busy.bundle()
    document: Any = document_of_checklist(audit)
    Draft202012Validator(schema).validate(document)
    assert [item["id"] for item in document["items"]] == list(QUESTIONS)
    for item in document["items"]:
        assert set(item["evidence"]["files"]) <= set(files)
        assert all(index < len(busy.entries) for index in item["evidence"]["entries"])
        assert set(item["evidence"]["checks"]) <= {check.value for check in Check}


def test_checklist_of_a_log_with_nothing_in_it_proves_nothing_of_a_run() -> None:
    house = adopted()
    bare = {n: d for n, d in house.files.items() if n.split("/")[0] == "manifests"}
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for files in (house.bundle(), bare, {}):
        document: Any = document_of_checklist(audit_of(files, house))
        Draft202012Validator(schema).validate(document)
        proven = {item["id"] for item in document["items"] if item["answer"] == "proven"}
        assert proven <= {"history", "access"}


def test_noise_is_not_proven_without_a_passed_audit_of_every_release(quiet: House) -> None:
    answers = {one.id: one.answer for one in checklist_of(audit_of(quiet.bundle(), quiet))}
    assert answers["noise"] is Answer.STATED
    assert answers["systemic_bias"] is answers["timing"] is Answer.NOT_PROVEN
    house = House(silos=3, rounds=1).run(until_end=False)
    answers = {one.id: one.answer for one in checklist_of(audit_of(house.bundle(), house))}
    assert answers["noise"] is answers["randomness"] is Answer.NOT_PROVEN


def test_joint_scores_are_said_to_carry_no_noise(audit: Audit, quiet: House) -> None:
    answers = {one.id: one.answer for one in checklist_of(audit)}
    assert answers["mixing"] is Answer.NOT_PROVEN
    answers = {one.id: one.answer for one in checklist_of(audit_of(quiet.bundle(), quiet))}
    assert answers["mixing"] is Answer.STATED


def test_answer_is_contradicted_by_an_error_of_its_check(quiet: House) -> None:
    files = quiet.bundle()
    place = next(name for name in files if name.startswith("models/"))
    del files[place]
    answers = {one.id: one for one in checklist_of(audit_of(files, quiet))}
    assert answers["learning"].answer is Answer.CONTRADICTED
    assert answers["learning"].evidence.entries
    assert answers["access"].answer is Answer.PROVEN


def test_what_is_said_of_many_entries_is_one_line_of_the_text(quiet: House) -> None:
    same = [
        Finding(check=Check.ROOT, grade=Grade.NOTE, name="a", text="closed", entries=(index,))
        for index in range(30)
    ]
    other = Finding(check=Check.ROOT, grade=Grade.ERROR, name="a", text="closed")
    first, second = together([*same[:10], other, *same[10:]])
    assert first.entries == tuple(range(30))
    assert second == other
    audit = replace(audit_of(quiet.bundle(), quiet), findings=(*same, other))
    assert sum("closed" in line for line in lines(audit)) == 2


# --- command ----------------------------------------------------------------------------------


def test_report_writes_what_it_says_and_ends_with_the_verdict(
    busy: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "bundle.zip", tmp_path / "report"
    path.write_bytes(pack(busy.bundle()))
    words = ["report", str(path), "--manifest", busy.manifest.digest, "--out", str(out)]
    assert main([*words, "--pdf", "--json"]) == WARNED  # an incident is on record
    *written, last = capsys.readouterr().out.splitlines()
    assert last == "verdict: warnings"
    assert {Path(one) for one in written} == set(out.iterdir())
    assert {one.name for one in out.iterdir()} == {
        *(f"report.{language}.{kind}" for language in LANGUAGES for kind in ("html", "pdf")),
        *("sp800-226.json", "report.json"),
    }


def test_report_is_not_written_over_a_file(quiet: House, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(pack(quiet.bundle()))
    words = ["report", str(path), "--manifest", quiet.manifest.digest, "--out", str(path)]
    with pytest.raises(ConfigurationError):
        main(words)


# --- for auditors -----------------------------------------------------------------------------

_MADE = re.compile(
    r"\b(?:error|warn|note|catch)\(\s*(?:(?:Check\.\w+|check),\s*)?\"([a-z_]+(?:\.[a-z_]+)?)\","
)


def test_every_finding_is_explained_to_auditors() -> None:
    root = Path(__file__).parents[2]
    made = {
        name
        for path in (root / "consortium" / "ledger").rglob("*.py")
        for name in _MADE.findall(path.read_text(encoding="utf-8"))
    }
    assert len(made) > 100
    shown = (root / "docs" / "audit.md").read_text(encoding="utf-8")
    assert {name for name in made if f"`{name}`" not in shown} == set()
