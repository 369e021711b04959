"""A borrower's paper as one page: no script, nothing fetched, everything escaped."""

from functools import lru_cache
from pathlib import Path

import jinja2

from partner_node.credit.document import Block, Paper

_TEMPLATES = Path(__file__).parent / "templates"


def html_of(paper: Paper) -> str:
    """The page."""
    template = _environment().get_template("paper.html")
    return template.render(paper=paper, kind_of=_kind_of) + "\n"


def _kind_of(block: Block) -> str:
    return type(block).__name__


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
