"""An artefact as one page; a column is never invented, so it shows where each value is from."""

from collections.abc import Mapping, Sequence
from html import escape
from string import Template

from consortium.ledger.verify import Audit
from regulator.artefacts.fields import NO_PACK, Artefact, Field, Known, NotRecorded
from regulator.artefacts.words import KEYS, TITLES, WORDS
from regulator.drawing import BLUE, FAINT, INK, ORANGE, PALE
from regulator.figures import moment
from regulator.report import verdict
from regulator.words import TEXTS

_MOST_ENTRIES = 8
_MOST_ROWS = 400


def page_of_artefact(artefact: Artefact, audit: Audit, language: str) -> bytes:
    """The page; everything that is not ours is escaped."""
    words = WORDS[language]
    rows = "".join(
        f'<tr><th scope="row">{escape(_key(name, language))}</th>'
        f"<td>{_shown(field, language)}</td><td>{_source(field, language)}</td></tr>"
        for name, field in artefact.fields
    )
    return (
        Template(_PAGE)
        .substitute(
            language="zh-Hans" if language == "zh" else "en",
            title=escape(TITLES[artefact.kind].of(language)),
            subject=escape(artefact.subject),
            made=escape(words["log"].format(entries=audit.entries, at=moment(audit.head_time))),
            pack=escape(NO_PACK.of(language)),
            verdict=escape(TEXTS[language][verdict(audit)]),
            field=escape(words["field"]),
            value=escape(words["value"]),
            source=escape(words["source"]),
            rows=rows,
            ink=INK,
            pale=PALE,
            faint=FAINT,
            blue=BLUE,
            orange=ORANGE,
        )
        .encode()
    )


def _key(name: str, language: str) -> str:
    found = KEYS.get(name)
    return found.of(language) if found else name.replace("_", " ")


def _shown(field: Field, language: str) -> str:
    match field:
        case Known():
            return _value(field.value, language)
        case NotRecorded():
            word = escape(WORDS[language]["not_recorded"])
            return f'<span class="open">{word}</span> {escape(field.why.of(language))}'
        case _:
            return (
                f'<span class="blank"></span> <small>{escape(field.what.of(language))}</small>'
            )


def _value(value: object, language: str) -> str:
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return _rows(value, language)
    if isinstance(value, dict):
        return _rows(
            [{"field": _key(str(name), language), "value": one} for name, one in value.items()],
            language,
        )
    if isinstance(value, list):
        return "<br>".join(escape(str(one)) for one in value) or "–"
    if isinstance(value, bool):
        return escape(WORDS[language]["yes" if value else "no"])
    return escape(str(value))


def _rows(rows: Sequence[Mapping[str, object]], language: str) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(_key(name, language))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row, name, language)}</td>" for name in names) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = f"<p>{len(rows)}</p>" if len(rows) > _MOST_ROWS else ""
    return f"<div class='wide'><table><tr>{head}</tr>{body}</table></div>{more}"


def _cell(row: Mapping[str, object], name: str, language: str) -> str:
    value = row.get(name, "–")
    named = name in {"figure", "measure"} and isinstance(value, str)
    return escape(_key(str(value), language)) if named else _value(value, language)


def _source(field: Field, language: str) -> str:
    if not isinstance(field, Known):
        return "–"
    words = WORDS[language]
    shown = ", ".join(str(one) for one in field.entries[:_MOST_ENTRIES])
    left = len(field.entries) - _MOST_ENTRIES
    parts = [f"{escape(words['entries'])} {shown}{f' (+{left})' if left > 0 else ''}"]
    parts = parts if field.entries else []
    parts += [f"<code>{escape(_cut(name))}</code>" for name in field.files[:3]]
    return "<br>".join(parts) or "–"


def _cut(name: str) -> str:
    folder, _, rest = name.partition("/")
    return f"{folder}/{rest[:12]}…{rest[-5:]}" if rest else name


_PAGE = """<!DOCTYPE html>
<html lang="$language"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;
margin:2rem auto;max-width:1040px;padding:0 1.25rem;color:$ink}
h1{font-size:1.5rem;margin:0 0 .2rem}p{margin:.2rem 0}.sub{color:$pale;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.88rem}
td,th{border-bottom:1px solid $faint;padding:.35rem .6rem .35rem 0;text-align:left;
vertical-align:top;overflow-wrap:break-word}th{color:$pale;font-weight:600}
th[scope=row]{color:$ink;width:11rem}code{overflow-wrap:anywhere}
table table{font-size:.95em}td td,td th{padding:.1rem .5rem .1rem 0}
.open{color:$orange;font-weight:600}.blank{display:inline-block;min-width:12rem;
border-bottom:1px solid $ink}small{color:$pale}
.main>table>tbody>tr>td:last-child{color:$pale;font-size:.92em;width:9rem}
@media(max-width:600px){body{margin:1rem auto;padding:0 .8rem}.main>table{min-width:36rem}}
</style></head><body>
<h1>$title</h1><p class="sub"><code>$subject</code></p><p class="sub">$made</p>
<p>$verdict</p><p class="sub">$pack</p>
<div class="main wide"><table><thead><tr><th>$field</th><th>$value</th><th>$source</th></tr>
</thead><tbody>$rows</tbody></table></div>
</body></html>
"""
