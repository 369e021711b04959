"""A misspelt setting is an error that names the file and the key."""

from pathlib import Path

import pytest

from consortium.errors import ConfigurationError
from coordinator.config import (
    TEMPLATE,
    TEMPLATE_LIMITS,
    TEMPLATE_POLICY,
    load_config,
    parse_config,
)

PATH = Path("/c/coordinator.toml")
MINIMAL = '[federation]\nname = "x"\n'


def test_template_is_accepted_and_states_the_defaults() -> None:
    head = TEMPLATE.format(name='"x"', address="127.0.0.1:7443", enrolment="127.0.0.1:7444")
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
