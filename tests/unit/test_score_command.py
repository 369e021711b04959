"""``riskweave node score``: one person, a file, and what is said without a terminal."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet
import pytest
from rich.console import Console

from consortium.errors import ConfigurationError, DataError, ScoreRefusalError, TransportError
from consortium.ids import PartnerId
from partner_node import applicants, joining, score_page, wiring
from partner_node.applicants import OUTPUT, ApplicantFile, Columns, ScoreFile, Tally
from partner_node.cli import main
from partner_node.desk import Score
from partner_node.keystore import Keystore, read_bundle
from partner_node.loan_desk import Consent, Failure, Question
from partner_node.score_dates import expires_of
from riskweave_client import Client, Tls
from tests.coordinator_house import House, free_address
from tests.desk_house import NOW, Session, open_desk
from tests.node_house import Loop
from tests.reasons_house import SCHEMA

ONE = ["--person", "12345678", "--consent", "consent-1"]


@pytest.fixture
def node(near: Path) -> Iterator[Path]:
    """A node's directory whose desk is served by a toy session."""
    joining.initialise(near / "n", PartnerId("bank_a"), None)
    loop = Loop()
    serving = open_desk(near / "n", Session(), now=lambda: NOW)
    loop.call(serving.__aenter__())
    yield near / "n"
    loop.call(serving.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def pinned(node: Path, tmp_path: Path) -> Path:
    """The same, with a manifest."""
    house = House.build(tmp_path / "coordinator")
    Keystore(node).pin(read_bundle(house.desk.membership.bundle(None)))
    return node


# --- one person -------------------------------------------------------------------------------


def test_score_of_one_person_is_a_page_with_reasons_in_both_languages(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(node), *ONE]) == 0
    shown = capsys.readouterr().out
    assert "points   517   PD 0.4688" in shown
    assert "R31    35  其他机构的还款记录  Repayment record at other institutions" in shown
    assert "repayment late" in shown
    assert "billing" in shown
    assert "no data  payments" in shown
    assert "late: below 10 (now 30 or more)" in shown
    assert "12345678" not in shown
    assert "  -36  repayment late" not in shown  # shared with the other holder of the family


def test_score_as_json_is_the_scores_own_bytes(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ["--key", "0d0a8c8e-4f3b"]
    assert main(["score", str(node), *ONE, "--json", *key]) == 0
    first = capsys.readouterr().out
    assert main(["score", str(node), *ONE, "--json", *key]) == 0
    assert capsys.readouterr().out == first
    assert Score.from_bytes(first.encode()).points == json.loads(first)["points"] == 517


def test_attributes_are_given_as_an_object(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--attributes", '{"late": 5, "months": null}', "--json"]
    assert main(["score", str(node), *ONE, *given]) == 0
    losses = json.loads(capsys.readouterr().out)["losses"]
    assert ("late", "below 10") in {(one["feature"], one["bin"]) for one in losses}
    for wrong in ("[1]", "{"):
        with pytest.raises(ConfigurationError):
            main(["score", str(node), *ONE, "--attributes", wrong])
    for value in ("true", "[1]", "{}", "1" + "0" * 400):
        with pytest.raises(ConfigurationError, match="--attributes: 'late' is ") as caught:
            main(["score", str(node), *ONE, "--attributes", f'{{"late": {value}}}'])
        assert value not in str(caught.value)


def test_person_can_come_on_standard_input(
    node: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("12345678\n"))
    assert main(["score", str(node), "--person", "-", "--consent", "c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 517


def test_without_consent_or_after_it_the_desk_says_s08(node: Path) -> None:
    with pytest.raises(ScoreRefusalError, match="S08"):
        main(["score", str(node), "--person", "12345678"])
    with pytest.raises(ScoreRefusalError, match="expired"):
        main(["score", str(node), *ONE, "--expires", "2020-01-31"])
    with pytest.raises(ConfigurationError, match="'soon': expected a date such as"):
        main(["score", str(node), *ONE, "--expires", "soon"])


def test_without_a_serving_node_it_is_said_in_one_line(near: Path) -> None:
    joining.initialise(near / "n", PartnerId("bank_a"), None)
    with pytest.raises(TransportError, match="no node serves"):
        main(["score", str(near / "n"), *ONE])


@pytest.mark.parametrize("extra", [["--out", "x.csv"], ["--file", "a.csv"]])
def test_half_of_a_question_is_refused(node: Path, extra: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="--person and --consent"):
        main(["score", str(node), *ONE, *extra])
    with pytest.raises(ConfigurationError, match="--person and --consent"):
        main(["score", str(node)])


def test_own_score_says_that_it_is_one(near: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Session(fallback="unreachable")
    joining.initialise(near / "n", PartnerId("bank_a"), None)
    loop = Loop()
    serving = open_desk(near / "n", answer)
    loop.call(serving.__aenter__())
    assert main(["score", str(near / "n"), *ONE]) == 0
    loop.call(serving.__aexit__(None, None, None))
    loop.close()
    shown = capsys.readouterr().out
    assert "own score only: the coordinator or the partners cannot be reached" in shown
    assert "band 0" in shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("1798761600", 1_798_761_600), ("2026-11-25", 1_795_651_199), ("soon", 1)],
)
def test_date_of_a_consent_counts_to_its_end_and_an_unreadable_one_has_expired(
    text: str, seconds: int
) -> None:
    assert expires_of(text) == seconds


# --- files ------------------------------------------------------------------------------------


def write(path: Path, rows: int, **columns: list[object]) -> Path:
    table = pa.table(
        {
            "person": [f"{n:08d}" for n in range(rows)],
            "consent": [f"consent-{n}" for n in range(rows)],
            **columns,
        }
    )
    if path.suffix == ".csv":
        arrow_csv.write_csv(table, path)
    else:
        arrow_parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_file_of_applicants_becomes_a_file_of_scores(
    pinned: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 600
    source = write(tmp_path / f"in{suffix}", rows, branch=["Taipei"] * rows)
    target = tmp_path / f"out{suffix}"
    assert main(["score", str(pinned), "--file", str(source), "--out", str(target)]) == 0
    shown = capsys.readouterr()
    assert "not read: branch" in shown.err
    assert "band 3+" in shown.out
    found = (
        arrow_parquet.read_table(target).to_pylist()
        if suffix == ".parquet"
        else arrow_csv.read_csv(
            target,
            convert_options=arrow_csv.ConvertOptions(column_types={"person": pa.string()}),
        ).to_pylist()
    )
    assert [row["person"] for row in found] == [f"{n:08d}" for n in range(rows)]
    assert {row["points"] for row in found} == {517}
    assert {(row["reason_1"], row["reason_1_points"]) for row in found} == {("R31", 35)}
    assert list(found[0]) == OUTPUT.names
    assert target.stat().st_mode & 0o077 == 0


def test_rows_that_cannot_be_scored_stay_with_their_reason_and_are_counted(
    pinned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.csv"
    source.write_text(
        "person,consent,expires\n"
        "00000001,c1,\n"
        "nobody,c2,2099-12-31\n"
        "00000003,,\n"
        "00000004,c4,2001-01-01\n"
        ",c5,\n"
    )
    target = tmp_path / "out.csv"
    arguments = ["--file", str(source), "--out", str(target), "--json"]
    assert main(["score", str(pinned), *arguments]) == 0
    tally = json.loads(capsys.readouterr().out)
    assert tally["rows"] == 5
    assert tally["rejects"] == {"S08": 2, "person": 1, "decode": 1}
    rows = arrow_csv.read_csv(target).to_pylist()
    assert [row["error"] for row in rows] == ["", "person", "S08", "S08", "decode"]
    assert rows[1]["points"] is None


def test_features_in_a_file_count_as_attributes_and_empty_cells_as_missing(
    tmp_path: Path,
) -> None:
    source = write(
        tmp_path / "in.parquet", 2, late=[5, None], kind=["card", None], key=["k" * 8, None]
    )
    file = ApplicantFile(source, SCHEMA.features)
    columns = file.columns()
    assert columns == Columns(
        attributes=("late", "kind"), has_expires=False, has_key=True, ignored=()
    )
    ((first, second),) = list(file.batches(columns))
    assert first.attributes == {"late": 5.0, "kind": "card"}
    assert second.attributes == {"late": None, "kind": None}
    assert (first.key, second.key, first.brief) == ("k" * 8, "", True)


def test_text_in_place_of_a_number_fails_its_row_and_no_other(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("person,consent,late\n007,1,5\n008,2,a lot\n009,3,\n")
    file = ApplicantFile(source, SCHEMA.features)
    (questions,) = list(file.batches(file.columns()))
    assert [one.person for one in questions] == ["007", "008", "009"]
    values = [one.attributes["late"] for one in questions if one.attributes]
    assert values == [5.0, "a lot", None]


def test_file_without_a_person_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("customer,consent\n1,2\n")
    with pytest.raises(ConfigurationError, match="no column 'person'"):
        ApplicantFile(source, []).columns()
    with pytest.raises(ConfigurationError, match=r"not a [.]parquet or [.]csv file"):
        ApplicantFile(tmp_path / "in.xlsx", [])
    with pytest.raises(ConfigurationError, match=r"not a [.]parquet or [.]csv file"):
        ScoreFile(tmp_path / "out.xlsx")


def test_file_that_breaks_in_the_middle_leaves_no_file_of_scores(tmp_path: Path) -> None:
    def batches() -> Iterator[list[Question]]:
        yield [Question(person="1", consent=Consent())]
        raise DataError("in.csv: a value is not of its form")

    def ask(asked: object) -> Iterator[list[Score | Failure]]:
        for batch in asked:  # type: ignore[attr-defined]
            yield [Failure("S08", "S08 no consent")] * len(batch)

    out = tmp_path / "out.csv"
    with pytest.raises(DataError), ScoreFile(out) as target:
        applicants.score(batches(), ask, target, lambda _done: None)
    assert list(tmp_path.iterdir()) == []


def test_progress_without_a_terminal_is_plain_lines() -> None:
    out = io.StringIO()
    with score_page.progress(Console(file=out)) as tell:
        for done in range(0, 60_000, 256):
            tell(done)
    assert out.getvalue() == "25,600 persons\n51,200 persons\n"


def test_progress_on_a_terminal_is_a_bar() -> None:
    out = io.StringIO()
    with score_page.progress(Console(file=out, force_terminal=True)) as tell:
        tell(256)
    assert "256" in out.getvalue()


def test_tally_lists_bands_fallbacks_and_rejects() -> None:
    tally = Tally()
    tally.count(Failure("S08", ""))
    assert tally.lines() == ["rows                1", "left out            1   S08"]


# --- certificates of the desk's clients -------------------------------------------------------


def test_client_certificate_opens_the_port_and_a_second_one_replaces_it(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, address = near / "n", free_address()
    settings = near / "settings.toml"
    settings.write_text(f'[desk]\nlisten = "{address}"\n')
    config = joining.initialise(node, PartnerId("bank_a"), settings)
    assert main(["desk-client", str(node), "loans", "--out", str(near / "a")]) == 0
    assert "client.key" in capsys.readouterr().out
    loop = Loop()
    serving = open_desk(node, Session(), config.desk, now=wiring.now)
    loop.call(serving.__aenter__())
    try:
        with Client(address, Tls.read(near / "a")) as client:
            assert client.status().partner == "bank_a"
    finally:
        loop.call(serving.__aexit__(None, None, None))
        loop.close()
    with pytest.raises(ConfigurationError, match="exists already"):
        main(["desk-client", str(node), "loans", "--out", str(near / "a")])
