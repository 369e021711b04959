"""A misspelt setting is an error that names the file and the key."""

from pathlib import Path

import pytest

from consortium.errors import ConfigurationError
from consortium.ids import PartnerId
from consortium.manifest import Delivery, Disclosure, ScoringPolicy
from coordinator.config import (
    DATABASE,
    TEMPLATE,
    TEMPLATE_LIMITS,
    TEMPLATE_POLICY,
    load_config,
    parse_config,
    parse_policy,
    public_lines,
)

PATH = Path("/c/coordinator.toml")
MINIMAL = '[federation]\nname = "x"\n'


def test_template_is_accepted_and_states_the_defaults() -> None:
    head = TEMPLATE.format(
        name='"x"',
        address="127.0.0.1:7443",
        enrolment="127.0.0.1:7444",
        public=public_lines(None),
        storage=f'"{DATABASE}"',
    )
    assert parse_config(head + TEMPLATE_POLICY + TEMPLATE_LIMITS, PATH) == parse_config(
        MINIMAL, PATH
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nattempt_timeout = 3\n", r"coordinator.toml: unknown key 'attempt_timeout'"),
        ("[limit]\n", r"unknown table \[limit\]"),
        ('[listen]\nfederation = "localhost"\n', "'localhost' is not host:port"),
        ("[policy]\nmin_partners = 0\n", "min_partners = 0 is not at least 1"),
        ("[policy]\nmin_partners = true\n", "min_partners = True is not of type int"),
        ('[policy]\ndelta = "0.1"\n', "delta: 0.1 is outside"),
        ('[policy]\nmodel_kinds = ["forest"]\n', "'forest' is not a model kind"),
        ('[policy]\ncode = ["x"]\n', "64 lower-case hex"),
        ("[policy\n", "coordinator.toml"),
    ],
)
def test_wrong_setting_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_config(MINIMAL + text, PATH)


def test_missing_name_is_named() -> None:
    with pytest.raises(ConfigurationError, match="name is missing"):
        parse_config("", PATH)


def test_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="coordinator init"):
        load_config(tmp_path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgres_url_names_the_driver_that_is_installed(scheme: str) -> None:
    text = MINIMAL + f'[storage]\nurl = "{scheme}://rw@db/risk?passfile=/run/secrets/pg"\n'
    url = parse_config(text, PATH).storage_url
    assert url == "postgresql+psycopg://rw@db/risk?passfile=/run/secrets/pg"


def test_public_addresses_are_what_partners_dial() -> None:
    lines = public_lines(("risk.example:443", "risk.example:444"))
    config = parse_config(MINIMAL + '[listen]\nfederation = "0.0.0.0:7443"\n' + lines, PATH)
    assert config.federation_address == "0.0.0.0:7443"
    assert config.federation_public == "risk.example:443"
    assert config.enrolment_public == "risk.example:444"


def test_relative_database_lies_in_the_directory_and_others_stay() -> None:
    assert parse_config(MINIMAL, PATH).storage_url == "sqlite:////c/coordinator.db"
    other = '[storage]\nurl = "postgresql+psycopg://db/riskweave"\n'
    assert parse_config(MINIMAL + other, PATH).storage_url.startswith("postgresql")


def test_coordinator_behind_a_nat_tells_partners_its_public_address() -> None:
    text = MINIMAL + '[listen]\nfederation = "0.0.0.0:7443"\nfederation_public = "c.org:443"\n'
    config = parse_config(text, PATH)
    assert (config.federation_address, config.federation_public) == (
        "0.0.0.0:7443",
        "c.org:443",
    )
    assert config.enrolment_public == config.enrolment_address


# --- [scoring] --------------------------------------------------------------------------------


def test_every_field_of_the_scoring_policy_can_be_set() -> None:
    text = """
    [scoring]
    delivery = "via_licensed_bureau"
    bureau = "bank_a"
    epoch = 3
    identifier = "tw/national_id"
    min_responders = 3
    disclosure = "total_only"
    reason_step = 10
    scores_per_second = 50
    scores_per_day = 100000
    studies_per_release = 100
    tokens_per_second = 200
    tokens_per_day = 300000
    load_hours = 1
    answer_ms = 4
    customers = { bank_b = 5, bank_a = 200000 }
    """
    assert parse_policy(text, "p").scoring == ScoringPolicy(
        delivery=Delivery.VIA_LICENSED_BUREAU,
        bureau=PartnerId("bank_a"),
        epoch=3,
        identifier="tw/national_id",
        min_responders=3,
        disclosure=Disclosure.TOTAL_ONLY,
        reason_step=10,
        scores_per_second=50,
        scores_per_day=100_000,
        studies_per_release=100,
        tokens_per_second=200,
        tokens_per_day=300_000,
        load_hours=1,
        answer_ms=4,
        customers=((PartnerId("bank_a"), 200_000), (PartnerId("bank_b"), 5)),
    )
    assert len(parse_policy("", "p").scoring.customers) == 0
    assert parse_policy("", "p").scoring == ScoringPolicy()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("delivary = 1", "unknown key 'delivary'"),
        ('delivery = "all"', "delivery = 'all': expected \"partner_local\" or"),
        ('delivery = "joint"', "epoch: 0, but a joint score needs pseudonyms"),
        ('bureau = "bank_a"', "bureau: goes with delivery via_licensed_bureau"),
        ('bureau = "Bank A"', "bureau = 'Bank A': expected a partner's id"),
        ("epoch = 65536", "epoch: 65536 is outside 0 to 65535"),
        ('epoch = "1"', "epoch = '1': expected a whole number"),
        ("min_responders = 1", "min_responders: 1 is outside 2 to 64"),
        ("answer_ms = true", "answer_ms = True: expected a whole number"),
        ('identifier = "passport"', "identifier = 'passport': expected \"cn/national_id\""),
        ("identifier = 7", "identifier = 7: expected"),
        ('disclosure = "none"', "disclosure = 'none': expected \"family\" or"),
        ("customers = 7", "customers = 7: expected a table"),
        ("customers = { bank_a = 0 }", "customers bank_a = 0: expected at least 1"),
        ('customers = { bank_a = "many" }', "bank_a = 'many': expected a whole number"),
        ('customers = { "Bank A" = 1 }', "customers = 'Bank A': expected a partner's id"),
    ],
)
def test_scoring_table_that_breaks_a_rule_is_refused_by_file_field_value_and_expectation(
    line: str, told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(f"[scoring]\n{line}\n", "policy.toml")
    assert str(caught.value).startswith("policy.toml: ")
    assert told in str(caught.value)
