"""A statement is shown only if it is complete and its figures follow from its charges."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from consortium.canonical import canonical_json, parse_canonical
from consortium.errors import DecodeError, TrustError
from consortium.plan import TrainingPlan
from consortium.privacy.recomputed import epsilons_of
from consortium.privacy.statement import statement
from consortium.release import Level
from coordinator import cli_models, statement_page
from coordinator.releases import Candidate, candidate_of
from coordinator.storage import Store
from tests.coordinator_house import House
from tests.simulator import Consortium
from tests.unit.test_mechanism import LOCAL, PRIVATE
from tests.unit.test_statement import RUN, SHARED

Change = Callable[[dict[str, object]], object]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "c")


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    consortium = Consortium()
    return candidate_of(consortium.train(), consortium.manifest)


def at(value: object, *path: str) -> dict[str, object]:
    for name in path:
        assert isinstance(value, dict)
        value = value[name]
    assert isinstance(value, dict)
    return value


def changed(candidate: Candidate, change: Change) -> bytes:
    document = parse_canonical(candidate.document)
    change(at(document, "statement"))
    return canonical_json(document)


@pytest.mark.parametrize("plan", [SHARED, LOCAL, PRIVATE], ids=["shared", "steps", "own"])
def test_figures_computed_from_the_charges_are_those_printed(plan: TrainingPlan) -> None:
    made = statement(plan, RUN, width=195, grid=10)
    charges = made["charges"]
    assert isinstance(charges, list)
    found = epsilons_of(plan, charges)
    for scope in ("training", "holdout"):
        assert found[scope] == at(made, "epsilon", scope, "by_honest")


def test_statement_of_a_release_is_complete_and_follows_from_its_charges(
    candidate: Candidate,
) -> None:
    found = statement_page.statement_of(candidate.document)
    assert found == at(parse_canonical(candidate.document), "statement")


@pytest.mark.parametrize("field", [*statement_page._TEXTS, *statement_page._OTHERS])
def test_statement_without_a_field_is_refused(candidate: Candidate, field: str) -> None:
    with pytest.raises(DecodeError, match=f"lacks {field}"):
        statement_page.statement_of(changed(candidate, lambda one: one.pop(field)))


@pytest.mark.parametrize("level", list(Level))
def test_epsilon_that_does_not_follow_from_the_charges_is_refused(
    candidate: Candidate, level: Level
) -> None:
    def lower(one: dict[str, object]) -> None:
        at(one, "epsilon", "training", "by_honest", "person")[level.value] = "0.1000"

    with pytest.raises(TrustError, match="does not follow from its charges"):
        statement_page.statement_of(changed(candidate, lower))


@pytest.mark.parametrize("name", ["person", "record"])
def test_headline_that_is_not_the_worst_epsilon_is_refused(
    candidate: Candidate, name: str
) -> None:
    for key, value in ((name, "0.1000"), (f"{name}_by_honest", {"claimed": "0.1000"})):

        def lower(one: dict[str, object], key: str = key, value: object = value) -> None:
            at(one, "headline")[key] = value

        with pytest.raises(TrustError, match="headline"):
            statement_page.statement_of(changed(candidate, lower))


def test_charge_that_is_left_out_is_noticed(candidate: Candidate) -> None:
    def forget(one: dict[str, object]) -> None:
        charges = one["charges"]
        assert isinstance(charges, list)
        charges.pop()

    with pytest.raises(TrustError):
        statement_page.statement_of(changed(candidate, forget))


@pytest.mark.parametrize(
    ("field", "value"),
    [("variance", "1"), ("sensitivity", "1"), ("person_units", 1), ("attempts", 1)],
)
def test_charge_that_is_not_the_plans_is_noticed(
    candidate: Candidate, field: str, value: object
) -> None:
    def alter(one: dict[str, object]) -> None:
        charges = one["charges"]
        assert isinstance(charges, list)
        charges[0][field] = value

    with pytest.raises(TrustError):
        statement_page.statement_of(changed(candidate, alter))


class Page(HTMLParser):
    """Collects tags and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_escapes_whatever_the_document_says(candidate: Candidate) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=y>'

    def write(one: dict[str, object]) -> None:
        for name in statement_page._TEXTS:
            one[name] = evil
        one["not_protected"] = [evil]
        one["accountants"] = {evil: evil}
        rosters = one["rosters"]
        assert isinstance(rosters, list)
        rosters.append({"partners": evil, "honest": [evil], "attempts": evil})

    found = statement_page.statement_of(changed(candidate, write))
    page = Page(statement_page.page(evil, found))
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert not page.attributes & {"src", "href", "onerror"}
    assert page.text.count(evil) >= len(statement_page._TEXTS)


def test_page_and_lines_show_the_three_epsilons_and_what_is_not_protected(
    candidate: Candidate,
) -> None:
    found = statement_page.statement_of(candidate.document)
    page = Page(statement_page.page(candidate.version, found)).text
    text = "\n".join(statement_page.lines(found))
    for shown in (page, text):
        for figure in at(found, "headline", "person_by_honest").values():
            assert str(figure) in shown
        for words in (*statement_page.LEVELS.values(), str(found["trust"])):
            assert words in shown
        not_protected = found["not_protected"]
        assert isinstance(not_protected, list)
        assert all(str(one) in shown for one in not_protected)
    for block in ("banks", "platforms"):
        assert block in page


def test_operator_prints_and_writes_the_statement(
    house: House, candidate: Candidate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(house.desk.config.directory)
    store = Store(house.desk.config.storage_url)
    store.models.add(candidate.version, Consortium().plan.run, candidate.document, 1)
    store.close()
    target = tmp_path / "statement.html"
    command = ["statement", candidate.version, "--dir", directory]
    assert cli_models.main([*command, "--html", str(target)]) == 0
    assert "everyone else colludes" in capsys.readouterr().out
    assert "everyone else colludes" in target.read_text(encoding="utf-8")
    assert cli_models.main([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"] == candidate.version
    headline = at(shown, "statement", "headline")
    assert cli_models.main(["show", candidate.version, "--dir", directory, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert at(shown, "epsilon")["person_by_honest"] == headline["person_by_honest"]
