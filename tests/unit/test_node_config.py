import re
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError
from consortium.ids import PartnerId
from partner_node.config import (
    Addresses,
    Budget,
    CreditSettings,
    DeskDoors,
    RowEngine,
    Speed,
    Votes,
)
from partner_node.config_reading import load_config, parse_config
from partner_node.config_text import TEMPLATE_HEAD, TEMPLATE_SETTINGS, with_addresses

PATH = Path("/n/node.toml")
SAMPLE = TEMPLATE_HEAD.format(partner="bank_a") + TEMPLATE_SETTINGS
DATA = '[node]\nid = "bank_a"\n[data]\nquery = "SELECT 1"\nperson = "p"\nlabel = "y"\n'
DOORS = Addresses(federation="c.example:7443", enrolment="[::1]:7444")


def test_sample_states_the_defaults_and_names_no_table() -> None:
    config = parse_config(SAMPLE, PATH)
    assert (config.budget, config.votes, config.speed) == (Budget(), Votes(), Speed())
    assert config.credit == CreditSettings()
    assert config.partner == PartnerId("bank_a")
    assert config.addresses is None
    assert config.data is None


def test_settings_in_comments_of_the_sample_are_known_settings() -> None:
    data = SAMPLE.split("[data]")[1].split("[budget]")[0]
    lines = re.findall(r"^# ([a-z_]+ = .*)$", data, re.MULTILINE)
    config = parse_config(SAMPLE.replace(data, "\n" + "\n".join(lines) + "\n"), PATH)
    assert len(lines) == 7
    assert config.data is not None
    assert config.data.postgres == "service=risk"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[node]", "id is missing"),
        ('[node]\nid = "Bank A"', "partner id 'Bank A'"),
        ('[node]\nid = "a"\nname = "b"', r"unknown key 'name' in \[node\]"),
        ('[nodes]\nid = "a"', r"unknown table \[nodes\]"),
        ('node = "a"', "node is not a table"),
        (DATA + "thread = 3", r"unknown key 'thread' in \[data\]"),
        (DATA + "threads = 0", "threads = 0 is not at least 1"),
        (DATA + 'threads = "2"', "threads = '2' is not of type int"),
        (DATA + "threads = true", "threads = True is not of type int"),
        ('[node]\nid = "a"\n[data]\nquery = "SELECT 1"', "person is missing"),
        ('[node]\nid = "a"\n[budget]\nrun_epsilon = 1', "run_epsilon = 1 is not of type str"),
        ('[node]\nid = "a"\n[budget]\nrun_epsilon = "1000"', "run_epsilon: 1000 is outside"),
        ('[node]\nid = "a"\n[budget]\nlifetime_epsilon = "nan"', "lifetime_epsilon: nan"),
        ('[node]\nid = "a"\n[budget]\nepoch = ""', "epoch '' is not"),
        ('[node]\nid = "a"\n[votes]\nmin_auc = "1.2"', "min_auc: 1.2 is outside"),
        ('[node]\nid = "a"\n[coordinator]\naddress = "c:1"', "enrolment is missing"),
        (
            '[node]\nid = "a"\n[coordinator]\naddress = "http://c:1"\nenrolment = "c:2"',
            "address 'http://c:1' is not host:port",
        ),
        ("[node", r"node\.toml: "),
    ],
)
def test_wrong_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_config(text, PATH)
    assert str(PATH) in str(caught.value)


def test_relative_paths_of_the_query_start_where_directory_says() -> None:
    assert parse_config(DATA, PATH).source().directory == Path("/n")
    moved = parse_config(DATA + 'directory = "tables"\n', PATH)
    assert moved.source().directory == Path("/n/tables")
    away = parse_config(DATA + 'directory = "/srv"\n', PATH)
    assert away.source().directory == Path("/srv")


def test_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="riskweave node init"):
        load_config(tmp_path)


def test_node_that_has_not_joined_is_told_how() -> None:
    config = parse_config(DATA, PATH)
    with pytest.raises(ConfigurationError, match="riskweave node join /n --token"):
        config.joined()
    with pytest.raises(ConfigurationError, match=r"\[data\] names no query"):
        replace(config, data=None).source()


@pytest.mark.parametrize("text", [SAMPLE, DATA, DATA + "[coordinator]\n# none yet\n"])
def test_addresses_are_written_into_the_file_and_change_nothing_else(text: str) -> None:
    before = parse_config(text, PATH)
    written = with_addresses(text, DOORS)
    assert parse_config(written, PATH) == replace(before, addresses=DOORS)
    again = with_addresses(written, replace(DOORS, federation="d.example:1"))
    assert parse_config(again, PATH).joined().federation == "d.example:1"
    assert again.count("[coordinator]") == 1


@pytest.mark.parametrize("address", ["0.0.0.0:9080", "10.0.0.5:9080", "desk.bank.example:9080"])
def test_plain_http_beyond_loopback_is_refused(address: str) -> None:
    text = f'[node]\nid = "bank_a"\n[desk]\nrest = "{address}"\n'
    with pytest.raises(ConfigurationError, match="plain HTTP is for loopback only"):
        parse_config(text, PATH)
    found = parse_config(text + "rest_tls = true\n", PATH).desk
    assert (found.rest, found.rest_tls) == (address, True)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9080", "[::1]:9080", "localhost:9080", "socket"]
)
def test_desk_may_be_open_by_http_on_this_machine(address: str) -> None:
    text = f'[node]\nid = "bank_a"\n[desk]\nlisten = "0.0.0.0:9443"\nrest = "{address}"\n'
    assert parse_config(text, PATH).desk == DeskDoors(listen="0.0.0.0:9443", rest=address)


@pytest.mark.parametrize(
    "setting",
    ['time_zone = "Taipei"', 'time_zone = "../etc"', "key_hours = 0", "deadline_ms = 1"],
)
def test_credit_setting_that_is_not_of_its_form_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_config(f'[node]\nid = "bank_a"\n[credit]\n{setting}\n', PATH)


@pytest.mark.parametrize(
    "setting",
    ['rest = "socket"\nrest_tls = true', 'rest_tls = "yes"', 'rest = "9080"', "listen = 9443"],
)
def test_desk_setting_that_is_not_of_its_form_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_config(f'[node]\nid = "bank_a"\n[desk]\n{setting}\n', PATH)


RAY = '[engine]\nkind = "ray"\n'


def test_engine_is_this_process_unless_a_cluster_is_named() -> None:
    assert parse_config(DATA, PATH).engine == RowEngine()
    assert not parse_config(SAMPLE, PATH).engine.ray
    found = parse_config(DATA + RAY + 'address = "10.0.0.5:6379"\nworkers = 8\n', PATH).engine
    assert (found.ray, found.address, found.workers, found.parts) == (
        True,
        "10.0.0.5:6379",
        8,
        8,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[engine]\nkind = "spark"\n', 'neither "local" nor "ray"'),
        ("[engine]\nworkers = 8\n", 'workers: only with kind = "ray"'),
        (RAY + 'address = "cluster"\n', "not host:port"),
        (RAY + "workers = 4\nparts = 3\n", "parts = 3 is not at least 4"),
        (RAY + 'query = "FROM all"\n', "without {part}"),
    ],
)
def test_engine_that_could_not_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse_config(DATA + text, PATH)


@pytest.mark.parametrize(
    "postgres", ["host=db password=4711", "postgresql://risk:4711@db/clients"]
)
def test_password_of_a_database_is_not_sent_to_workers(postgres: str) -> None:
    data = DATA + f'postgres = "{postgres}"\n'
    assert parse_config(data, PATH).source().postgres == postgres
    with pytest.raises(
        ConfigurationError, match=r"a password would go to every worker"
    ) as seen:
        parse_config(data + RAY, PATH)
    assert "4711" not in str(seen.value)
