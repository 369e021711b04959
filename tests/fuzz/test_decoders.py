"""Bent bytes at every decoder: a value or an error of the house; no decoder is forgotten."""

import re
import time
from contextlib import nullcontext, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consortium.errors import RiskWeaveError
from tests.fuzz.samples import ROOT
from tests.fuzz.targets import TARGETS

EVERY = pytest.mark.parametrize("name", TARGETS)
FOREIGN = ("certificate request",)
"""Samples here are refused honestly, too: keys that are not ours."""
DECODER = re.compile(
    r"def ((?:parse_|decode_|read_|from_|unpack|entry_of_)\w*)"
    r"\(\s*(?:(?:cls|self|kind: [^,]+),\s*)?\w+: bytes\b"
)
"""A public function of bytes that is named as decoders are."""
PACKAGES = ("consortium", "models", "coordinator", "partner_node", "regulator")
COVERED = {
    "parse": "bounds: under every message of the wire",
    "parse_document": "documents: under every kind of document",
    "read_offer": "EpochOffer is a document",
    "read_toml": "reading: under packs, policies, catalogues and scenarios",
    "from_canonical": "models: under 'model or head'",
    "parse_model_document": "under parse_any",
    "parse_head_document": "under parse_any",
}
"""Decoders that are reached through a target of another name."""
OWN = {
    "from_json": "a report that this coordinator wrote",
    "parse_policy": "coordinator/credit/stress_policy: the operator's own file",
    "parse_charter": "the operator's own file",
    "unpack_impact": "from this node's serving process to its training process",
}
"""Not bytes from outside."""


N = 50_000
HOSTILE = {
    "brackets without end": b"[" * N,
    "objects without end": b'{"a":' * N,
    "arrays of TOML without end": b"a = " + b"[" * N,
    "tables of TOML without end": b"a = " + b"{b=" * N,
    "a key of many parts": b"a" + b".a" * N + b" = 1",
    "digits without end": b"9" * N,
    "digits of TOML without end": b"a = " + b"9" * N,
    "an exponent": b"a = 1E999999999",
    "half a pair": b'"\\ud800"',
    "zeros": bytes(N),
    "ones": b"\xff" * N,
    "nothing": b"",
}
"""What once broke a decoder of somebody's: no search finds it soon."""


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, int, bytes]]:
    """One to four edits: kind, place, what is put there."""
    edit = st.tuples(
        st.sampled_from(("flip", "cut", "insert", "replace", "repeat")),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from(
            [b"\x00", b"\xff\xff\xff\xff", b"[", b'"', b"-1", b"1E999999", b"{}"]
        ),
    )
    return draw(st.lists(edit, min_size=1, max_size=4))


def bent(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """The bytes after the edits."""
    for kind, place, put in edits:
        at = place % (len(data) + 1)
        match kind:
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ put[0]]) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + put + data[at:]
            case "replace":
                data = data[:at] + put + data[at + len(put) :]
            case _:
                data = data[:at] + data[at // 2 : at] + data[at:]
    return data


@EVERY
def test_honest_bytes_are_read(name: str) -> None:
    target = TARGETS[name]
    honest = target.samples()
    assert honest
    target.read(honest[0])
    for data in honest[1:]:
        with suppress(RiskWeaveError) if name in FOREIGN else nullcontext():
            target.read(data)


@EVERY
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(edits=changes(), number=st.integers(0, 99))
def test_bent_bytes_are_read_or_refused_by_an_error_of_the_house(
    name: str, edits: list[tuple[str, int, bytes]], number: int
) -> None:
    target = TARGETS[name]
    honest = _samples(name)
    try:
        target.read(bent(honest[number % len(honest)], edits))
    except RiskWeaveError:
        return


@EVERY
def test_known_tricks_are_refused_within_a_second(name: str) -> None:
    _samples(name)  # the houses behind some targets take their time once
    for trick, data in HOSTILE.items():
        began = time.process_time()
        with suppress(RiskWeaveError):
            TARGETS[name].read(data)
        assert time.process_time() - began < 1, trick


_KEPT: dict[str, tuple[bytes, ...]] = {}


def _samples(name: str) -> tuple[bytes, ...]:
    if name not in _KEPT:
        _KEPT[name] = TARGETS[name].samples()
    return _KEPT[name]


def test_every_decoder_is_a_target_or_says_why_not() -> None:
    source = (ROOT / "tests/fuzz/targets.py").read_text(encoding="utf-8")
    used = set(re.findall(r"\w+", source)) | COVERED.keys() | OWN.keys()
    found = [
        (str(path.relative_to(ROOT)), name)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in DECODER.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 50
    assert [one for one in found if one[1] not in used] == []
