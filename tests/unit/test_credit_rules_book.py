"""Rules in a node's directory: dated, checked at reading, kept with what they decided."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, DigestMismatchError, PolicyError
from partner_node.credit import rules
from partner_node.credit.forms import parse_json
from partner_node.credit.rules import RulesBook, shipped_packs, write_starters
from partner_node.credit.storage import RULE_FILES
from tests.credit_desk_house import application, decided, desk, write_rules
from tests.credit_house import PACKS, POLICY_FILE, TODAY, changed

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "taiwan" / "credit"


@pytest.mark.parametrize("pack", shipped_packs())
@pytest.mark.parametrize("example", [True, False])
def test_starters_are_rules_that_hold_under_each_pack(
    tmp_path: Path, pack: str, *, example: bool
) -> None:
    write_starters(tmp_path, partner="bank_a", pack=pack, since=TODAY, example=example)
    found = RulesBook(tmp_path).at(TODAY)
    assert found.rules.policy.pack == pack
    assert bool(found.rules.policy.levers) is example


@pytest.mark.parametrize("pack", shipped_packs())
def test_application_of_a_new_desk_is_decided_by_its_starters(
    tmp_path: Path, pack: str
) -> None:
    write_starters(tmp_path, partner="bank_a", pack=pack, since=TODAY, example=True)
    plain = parse_json((tmp_path / rules.FOLDER / "application.json").read_bytes())
    with desk(tmp_path) as service:
        made = decided(service, plain)["decision"]
    assert (made["outcome"], made["limit"]) == ("APPROVE", 2_000_000)


def test_starters_never_overwrite_rules(tmp_path: Path) -> None:
    folder = write_rules(tmp_path)
    before = (folder / "policy.toml").read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        write_starters(tmp_path, partner="bank_a", pack="tw", since=TODAY, example=False)
    assert (folder / "policy.toml").read_bytes() == before


def test_rules_of_the_taiwan_example_hold(tmp_path: Path) -> None:
    (tmp_path / rules.FOLDER).mkdir()
    for path in EXAMPLE.glob("*.toml"):
        (tmp_path / rules.FOLDER / path.name).write_bytes(path.read_bytes())
    policy = RulesBook(tmp_path).at(TODAY).rules.policy
    assert (policy.pack, policy.pd_cuts) == ("tw", ("0.08", "0.12", "0.18", "0.35"))


def test_node_without_rules_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="riskweave desk init"):
        RulesBook(tmp_path).at(TODAY)


def test_changed_file_counts_from_the_next_decision_on(tmp_path: Path) -> None:
    folder = write_rules(tmp_path)
    with desk(tmp_path) as service:
        first = decided(service, application("first"))
        data = changed(POLICY_FILE, {"limit_max = 50000000": "limit_max = 49999900"})
        data = data.replace(b"limit_max = 50000000", b"limit_max = 49999900")
        (folder / "policy.toml").write_bytes(data + b"\n")
        second = decided(service, application("second"))
        one, other = (service.decision(made["id"]).input for made in (first, second))
        assert one != other
        # What was decided under the old file is still made again from it.
        assert sum(1 for _ in service.replay_last(2)) == 2


def test_file_that_is_refused_stops_decisions_with_its_line(tmp_path: Path) -> None:
    folder = write_rules(tmp_path)
    with desk(tmp_path) as service:
        decided(service, application("first"))
        data = changed(POLICY_FILE, {'dsr_cap = "0.50"': 'dsr_cap = "5.0"'})
        (folder / "policy.toml").write_bytes(data)
        with pytest.raises(PolicyError, match=r"policy\.toml, line \d+: rules\.dsr_cap"):
            decided(service, application("second"))


def test_versions_in_force_together_are_refused(tmp_path: Path) -> None:
    folder = write_rules(tmp_path)
    (folder / "policy_later.toml").write_bytes(POLICY_FILE.read_bytes())
    with pytest.raises(PolicyError, match="while version"):
        RulesBook(tmp_path).at(TODAY)
    (folder / "policy_later.toml").unlink()
    (folder / "catalogue_2.toml").write_bytes((folder / "catalogue.toml").read_bytes())
    with pytest.raises(PolicyError, match="one at a time"):
        RulesBook(tmp_path).at(TODAY)


def test_version_is_chosen_by_the_day(tmp_path: Path) -> None:
    since = "effective_from = 2026-11-01"
    folder = write_rules(tmp_path, **{since: f"{since}\neffective_to = 2026-12-01"})
    later = changed(
        POLICY_FILE,
        {'version = "2026-11-01"': 'version = "2026-12-01"', since: since.replace("11", "12")},
    )
    (folder / "policy_2026_12.toml").write_bytes(later)
    book = RulesBook(tmp_path)
    assert book.at(date(2026, 11, 30)).rules.policy.version == "2026-11-01"
    assert book.at(date(2026, 12, 1)).rules.policy.version == "2026-12-01"
    with pytest.raises(PolicyError, match="in force"):
        book.at(date(2026, 11, 1) - timedelta(days=1))


def test_own_pack_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    folder = write_rules(tmp_path)
    data = changed(PACKS / "tw.toml", {"review_days = 15": "review_days = 5"})
    (folder / "pack_own.toml").write_bytes(data)
    assert RulesBook(tmp_path).at(TODAY).rules.pack.notice.review_days == 5


def test_kept_rules_that_were_touched_replay_nothing(tmp_path: Path) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service:
        name = decided(service, application())["id"]
        with service.ports.store.transaction() as connection:
            data = changed(POLICY_FILE, {'dsr_cap = "0.50"': 'dsr_cap = "0.40"'})
            policy = RULE_FILES.c.kind == "policy"
            connection.execute(RULE_FILES.update().where(policy).values(source=data))
        with pytest.raises(DigestMismatchError, match="kept policy"):
            service.replay(name)
