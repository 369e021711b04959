"""The rehearsal file is read strictly, and what it says reaches the roles' own files."""

import tomllib
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError
from consortium.privacy.accountant import units_of
from coordinator.config import parse_policy
from partner_node.config_reading import parse_config
from rehearsal.config_reading import load_rehearsal
from rehearsal.role_files import policy_text, settings_text
from tests.rehearsal_house import furnish

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def changed(directory: Path, old: str, new: str) -> Path:
    path = furnish(directory, rows=1)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["taiwan", "own_data", "gmsc"])
def test_shipped_example_is_accepted_before_its_data_exist(name: str) -> None:
    rehearsal = load_rehearsal(EXAMPLES / name / "rehearsal.toml")
    assert rehearsal.epsilon == "1"
    assert rehearsal.plan.delta == "1e-6"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title =", "titel =", "unknown key 'titel'"),
        ("[rehearsal]", "[rehersal]", "unknown key 'rehersal'"),
        ("rounds = 5", "round = 5", "unknown key 'round'"),
        ("rounds = 5", 'epsilon = "1"', r"\[rehearsal\]"),
        ("normaliser = 1500", "", "normaliser"),
        ("normaliser = 1500", 'normaliser = "rehearsal"', "normaliser"),
        ('id = "south"', 'id = "north"', "listed twice"),
        ('id = "south"', 'id = "South Bank"', "partner id"),
        ('person = "customer"', "", "person is missing"),
        ('query = "SELECT', 'quary = "SELECT', "unknown key 'quary'"),
        ("max_partners_per_person = 2", "", "max_partners_per_person is missing"),
        ("max_partners_per_person = 2", "max_partners_per_person = 3", "outside 1 to 2"),
        ("max_partners_per_person = 2", "max_partners_per_person = true", "whole number"),
        ('epsilon = "2"', 'epsilon = "9"', "outside"),
        ('epsilon = "2"', 'epsilon = "two"', "not a decimal"),
        ("title =", 'regulator = "north"\ntitle =', "another member"),
        ("title =", 'regulator = "The Authority"\ntitle =', "partner id"),
        ('families = ["repayment", "lines"]\nnorm', 'families = ["rent"]\nnorm', "rent"),
    ],
)
def test_mistake_in_the_file_is_refused_and_named(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_rehearsal(path)
    assert str(path) in str(caught.value)


def test_partner_with_a_family_that_the_schema_does_not_have_is_refused(
    tmp_path: Path,
) -> None:
    path = furnish(tmp_path, rows=1)
    text = path.read_text(encoding="utf-8")
    head, tail = text.split('id = "south"')
    path.write_text(f'{head}id = "south"{tail.replace("lines", "mobility")}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="mobility"):
        load_rehearsal(path)


def test_one_partner_is_no_federation(tmp_path: Path) -> None:
    path = furnish(tmp_path, rows=1)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.rindex("[[partner]]")], encoding="utf-8")
    with pytest.raises(ConfigurationError, match="at least 2"):
        load_rehearsal(path)


def test_missing_file_and_missing_schema_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml"):
        load_rehearsal(tmp_path / "nothing.toml")
    path = furnish(tmp_path, rows=1)
    (tmp_path / "schema.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"schema\.toml"):
        load_rehearsal(path)


def test_epsilon_of_the_command_line_replaces_the_files_everywhere(tmp_path: Path) -> None:
    rehearsal = load_rehearsal(furnish(tmp_path, rows=1), epsilon="3")
    assert rehearsal.plan.epsilon == "3"
    assert rehearsal.policy.max_epsilon_per_run == "3"
    assert {party.run_epsilon for party in rehearsal.parties} == {"3"}


def test_decimals_without_quotes_keep_their_digits(tmp_path: Path) -> None:
    path = changed(tmp_path, "rounds = 5", "rounds = 5\nclip = 0.10")
    assert load_rehearsal(path).plan.clip == "0.10"


def test_texts_reach_the_nodes_configuration_unchanged(tmp_path: Path) -> None:
    odd = "SELECT \\\"a b\\\", '\\u00e9\\t' FROM 'x.csv' -- # [data]"
    path = changed(tmp_path, "SELECT * FROM 'north.csv'", odd)
    party = load_rehearsal(path).party("north")
    text = '[node]\nid = "north"\n' + settings_text(party, tmp_path)
    data = parse_config(text, tmp_path / "node.toml").source()
    assert data.query == tomllib.loads(f'q = "{odd}"')["q"]
    assert data.directory == tmp_path


def test_policy_reaches_the_coordinators_configuration_unchanged(tmp_path: Path) -> None:
    policy = load_rehearsal(furnish(tmp_path, rows=1)).policy
    assert parse_policy(policy_text(policy), "policy.toml") == policy


def test_scoring_policy_of_a_rehearsal_reaches_the_coordinator_unchanged(
    tmp_path: Path,
) -> None:
    scoring = """
    [rehearsal.scoring]
    delivery = "joint"
    epoch = 1
    tokens_per_second = 100000
    customers = { north = 200000 }
    """
    furnish(tmp_path, rows=1)
    path = tmp_path / "rehearsal.toml"
    path.write_text(path.read_text() + scoring)
    policy = load_rehearsal(path).policy
    assert policy.scoring.delivery.value == "joint"
    assert policy.scoring.customers == (("north", 200_000),)
    assert parse_policy(policy_text(policy), "policy.toml") == policy


def test_scoring_policy_of_a_rehearsal_is_read_strictly(tmp_path: Path) -> None:
    furnish(tmp_path, rows=1)
    path = tmp_path / "rehearsal.toml"
    path.write_text(path.read_text() + '[rehearsal.scoring]\ndelivery = "sold"\n')
    with pytest.raises(ConfigurationError, match=r"\[rehearsal.scoring\] delivery = 'sold'"):
        load_rehearsal(path)


HEAD = '''
[head]
share = "0.2"
rounds = 7
askers = ["north"]

[[partner]]
id = "south"'''


def test_head_and_model_share_the_rehearsals_epsilon(tmp_path: Path) -> None:
    rehearsal = load_rehearsal(changed(tmp_path, '[[partner]]\nid = "south"', HEAD))
    assert rehearsal.head is not None
    assert (rehearsal.head.rounds, rehearsal.head.askers) == (7, ("north",))
    delta = float(rehearsal.plan.delta)
    parts = [
        units_of(float(epsilon), delta)
        for epsilon in (rehearsal.plan.epsilon, rehearsal.head.epsilon)
    ]
    whole = units_of(float(rehearsal.epsilon), delta)
    assert 0.999 * whole < sum(parts) <= whole
    assert parts[1] / whole == pytest.approx(0.2, abs=0.001)


def test_rehearsal_without_a_head_gives_all_to_the_model(tmp_path: Path) -> None:
    rehearsal = load_rehearsal(furnish(tmp_path, rows=1))
    assert rehearsal.head is None
    assert rehearsal.plan.epsilon == rehearsal.epsilon


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rounds = 7", "turns = 7", "unknown key 'turns'"),
        ("rounds = 7", 'rounds = "7"', "whole number"),
        ('share = "0.2"', 'share = "1"', "share"),
        ('askers = ["north"]', 'askers = "north"', "askers"),
    ],
)
def test_mistake_in_the_head_is_refused_and_named(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = changed(tmp_path, '[[partner]]\nid = "south"', HEAD.replace(old, new))
    with pytest.raises(ConfigurationError, match=told):
        load_rehearsal(path)


def test_rehearsal_of_closure_risk_is_refused_for_it_has_no_scores(tmp_path: Path) -> None:
    path = changed(tmp_path, "rounds = 5", 'model = "hazard"\nrounds = 5')
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('families = ["repayment", "lines"]\nnorm', "norm"), encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match="hazard has none"):
        load_rehearsal(path)
