"""The table of planted bugs fits the tree: places, tests, and every bug of protocol 9.5."""

import ast
import re

import pytest

from tests.mutants.mutants import ROOT, Mutant, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda one: one.bug)
def test_mutant_fits_one_place_is_python_and_names_tests_that_exist(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    ast.parse(mutant.planted(text))
    assert mutant.tests
    for name in mutant.tests:
        file, function = name.split("::")
        found = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", found, re.MULTILINE), name


def test_bugs_have_names_of_their_own() -> None:
    names = [one.bug for one in mutants()]
    assert len(set(names)) == len(names)


def test_every_bug_that_the_protocol_lists_is_in_the_table() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    part = text[text.index("- **9.5**") : text.index("- **9.6**")]
    listed = set(re.findall(r"^  \| (\S[^|]*?) \|", part, re.MULTILINE)) - {"bug", "---"}
    assert listed == {one.bug for one in mutants()}
