"""What would help, searched in a process beside the desk: the same bytes, whatever dies."""

import os
import signal
import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from consortium.errors import TransportError
from partner_node.credit.helping import Helper, SearchProcess
from partner_node.credit.what_helps import Unhelped, help_of
from tests.credit_house import RULES
from tests.paper_house import late_person


def unhelped(name: str = "1" * 64) -> Unhelped:
    inputs, basis = late_person()
    return Unhelped(name=name, inputs=inputs, rules=RULES, basis=basis)


def test_process_finds_the_bytes_of_the_search_itself_and_is_replaced_when_it_dies() -> None:
    search, asked = SearchProcess(), unhelped()
    expected = help_of(asked.inputs, asked.rules, asked.basis).to_bytes()
    try:
        assert search.pid is None
        assert search.find(asked) == expected
        first = search.pid
        assert first is not None
        assert os.getpriority(os.PRIO_PROCESS, first) > os.getpriority(os.PRIO_PROCESS, 0)
        os.kill(first, signal.SIGKILL)
        assert search.find(asked) == expected
        assert search.pid not in {None, first}
        # A search that is refused ends itself alone; its class is told, no value.
        other = unhelped()
        case = replace(other.basis.case, eta=other.basis.case.eta + 1)
        odd = replace(other, basis=replace(other.basis, case=case))
        with pytest.raises(TransportError, match="DomainError"):
            search.find(odd)
        assert search.find(asked) == expected
    finally:
        search.stop()
    assert search.pid is None


def test_who_waits_is_told_when_it_is_kept_and_not_before() -> None:
    kept: Future[None] = Future()
    told, found = threading.Event(), list[str]()

    def keep(name: str, _document: bytes) -> "Future[None]":
        found.append(name)
        told.set()
        return kept

    helper, asked = Helper(keep), unhelped()
    helper.submit(asked)
    assert told.wait(60)
    waiting = threading.Thread(target=helper.wait, args=(asked.name, 60))
    waiting.start()
    assert waiting.is_alive()
    kept.set_result(None)
    waiting.join(60)
    assert not waiting.is_alive()
    helper.close()
    assert found == [asked.name]
