"""A replica that does not lead: whoever dials it is sent on, to a list's or a name's next."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.addresses import Rotation, parse_addresses
from consortium.errors import ConfigurationError, StandbyError, TransportError
from coordinator.doors import Doors
from coordinator.metrics import Standby
from coordinator.standby import not_ready, standby_doors
from partner_node import door as node_door
from partner_node import targets
from partner_node.targets import Targets
from regulator.log_reader import LogReader
from tests.coordinator_house import free_address
from tests.node_house import Federation, Loop


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> Federation:
    made = Federation(tmp_path_factory.mktemp("standby"), loop)
    with made.serving():
        made.found("bank_a", "bank_b")
    return made


@contextmanager
def standing_by(federation: Federation, federation_door: str, enrolment: str) -> Iterator[None]:
    """A standby of the same coordinator, with the same keys."""
    desk = federation.desk
    doors = Doors(
        federation=federation_door,
        enrolment=enrolment,
        federation_public=federation_door,
        tls=desk.tls,
    )
    opened = standby_doors(doors, desk.authority.certificate_pem)
    federation.loop.call(opened.__aenter__())
    try:
        yield
    finally:
        federation.loop.call(opened.__aexit__(None, None, None))


def test_node_goes_on_from_the_standby_to_the_leader_with_streams_and_questions(
    federation: Federation,
) -> None:
    leader, idle = federation.desk.config.federation_address, free_address()
    node = federation.nodes["bank_a"]
    dial = replace(node.dial(), address=f"{idle},{leader}")
    with standing_by(federation, idle, free_address()), federation.serving():
        with federation.linked(node, dial=lambda: dial) as seen:
            seen.wait(lambda one: one.both_up())
        with node_door.Door(dial) as door:
            assert door.fetch_manifest().body


def test_standby_refuses_every_question_by_name_and_says_that_it_does_not_serve(
    federation: Federation,
) -> None:
    idle, enrolment = free_address(), free_address()
    dial = replace(federation.nodes["bank_a"].dial(), address=idle)
    with standing_by(federation, idle, enrolment), node_door.Door(dial) as door:
        with pytest.raises(StandbyError, match="another replica of the coordinator leads"):
            door.fetch_manifest()
        with pytest.raises(TransportError, match="does not serve"):
            door.check_health()
    page = not_ready()
    assert (page.status, page.body) == (503, b"standby: another replica leads\n")


def test_partner_enrols_at_the_leader_of_two_addresses(federation: Federation) -> None:
    """The token names both; the standby's door uses no token up."""
    config, idle = federation.desk.config, free_address()
    both = f"{idle},{config.enrolment_address}"
    desk = federation.desk
    federation.desk = replace(desk, config=replace(config, enrolment_public=both))
    try:
        with standing_by(federation, free_address(), idle), federation.serving():
            joined = federation.join("shop_c")
    finally:
        federation.desk = desk
        federation.nodes.pop("shop_c", None)
    assert joined.config.joined().enrolment == both


def test_regulator_asks_the_leader_of_two_addresses(federation: Federation) -> None:
    leader, idle = federation.desk.config.federation_address, free_address()
    tls = federation.nodes["bank_a"].dial().tls
    with standing_by(federation, idle, free_address()), federation.serving():
        with LogReader(f"{idle},{leader}", tls) as reader:  # type: ignore[arg-type]
            assert reader.fetch_manifest().body
        with (
            LogReader(idle, tls) as reader,  # type: ignore[arg-type]
            pytest.raises(TransportError, match="another replica"),
        ):
            reader.fetch_manifest()


def test_name_with_several_addresses_is_looked_up_once_a_standby_answers(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_up(address: str) -> tuple[str, ...]:
        return tuple(address.replace("risk.example", host) for host in ("10.0.0.1", "10.0.0.2"))

    monkeypatch.setattr(targets, "looked_up", looked_up)
    found = Targets()
    assert loop.call(found.current("risk.example:1")) == "risk.example:1"
    found.failed(TransportError())
    assert loop.call(found.current("risk.example:1")) == "risk.example:1"
    found.failed(StandbyError())
    assert loop.call(found.current("risk.example:1")) == "10.0.0.1:1"
    assert not found.failed(StandbyError())
    assert loop.call(found.current("risk.example:1")) == "10.0.0.2:1"


def test_address_that_is_no_name_is_not_looked_up() -> None:
    for one in ("127.0.0.1:7443", "[::1]:7443"):
        assert targets.every(one) == (one,)
    assert "127.0.0.1:7443" in targets.looked_up("localhost:7443")


def test_rotation_stays_where_it_works_and_waits_once_all_have_failed() -> None:
    rotation, three = Rotation(), ("a:1", "b:1", "c:1")
    assert [rotation.of(three), rotation.of(three)] == ["a:1", "a:1"]
    assert [(rotation.failed(), rotation.of(three)) for _ in three] == [
        (False, "b:1"),
        (False, "c:1"),
        (True, "a:1"),
    ]
    rotation.failed()
    assert rotation.of(("d:1",)) == "d:1"


@pytest.mark.parametrize(
    "text", ["", "a:1,", "a:1,b", "a:1,a:1", ",".join(f"h{n}:1" for n in range(9))]
)
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_addresses(text)
    assert parse_addresses("a:1, [::1]:2") == ("a:1", "[::1]:2")


def test_standbys_figures_say_that_it_does_not_lead(tmp_path: Path) -> None:
    body = Standby(tmp_path, lambda: 30).page().body.decode()
    assert "riskweave_leader 0.0" in body
    assert "riskweave_certificate_days 30.0" in body
