"""TOML of a file that somebody else may have written, with bounds that its reader lacks.

Python's reader recurses into brackets without end, takes a number's digits without end, and
needs time that grows with the square of a dotted key's parts: 40 KiB of ``a.a.a`` took seconds.
"""

import tomllib

MOST_DOTS = 256
"""In one line: a key of more parts nobody writes, nor so many decimals."""


def tables_of(text: str) -> dict[str, object]:
    """The tables of a file; decimals keep the digits that were written.

    Raises:
        ValueError: not TOML, nested too deeply, a number too long or a line with more than
            256 dots.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > MOST_DOTS:
            raise ValueError(f"more than {MOST_DOTS} dots (at line {number})")
    try:
        return tomllib.loads(text, parse_float=str)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
