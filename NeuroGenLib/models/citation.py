"""Citations of models and results: what a record names, and the same as BibTeX."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOFTWARE = f"NeuroGen {__version__}, NeuroGen contributors, Apache-2.0."

_SOFTWARE_ENTRY = f"""@software{{neurogen,
  author = {{{{NeuroGen contributors}}}},
  title = {{NeuroGen: generative neuroimaging for 3D Slicer, the command line and Python}},
  version = {{{__version__}}},
  license = {{Apache-2.0}}
}}"""

_ARTICLE = re.compile(
    r"(?P<author>[^.]+)\. (?P<title>.+)\. (?P<journal>[^.;]+?) (?P<year>\d{4})"
    r"(?:;(?P<volume>\d+)(?:\((?P<number>[^)]+)\))?:(?P<pages>[\w-]+))?\. doi:(?P<doi>[^\s,]+)(?: \(.+\))?"
)
"""``Author A, Author B, et al. Title. Journal 2021;1(2):3-4. doi:... (what it is cited for)``."""
_LINKS = {"doi": re.compile(r"doi:([^\s,;)]*[\w])"), "eprint": re.compile(r"arXiv:([\d.]*\d)")}
_ESCAPED = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}


def cited_in(record: object) -> Iterator[str]:
    """Yield the papers and data sets that a provenance record names, and the records within it.

    Examples
    --------
    >>> list(cited_in({"action": "mask", "citation": ["A paper."], "masks": [{"citation": ["Another one."]}]}))
    ['A paper.', 'Another one.']
    """
    for name, value in record.items() if isinstance(record, dict) else ():
        if name == "citation" and isinstance(value, list):
            yield from (entry for entry in value if isinstance(entry, str))
        elif isinstance(value, dict):
            yield from cited_in(value)
        elif isinstance(value, list):
            for item in value:
                yield from cited_in(item)


def bibtex(entries: Iterable[str]) -> str:
    r"""Return the software and the papers as BibTeX.

    Parameters
    ----------
    entries:
        Papers and data sets as text. The parts of ``Authors. Title. Journal Year;volume:pages. doi:... (role)``
        become fields, but for the role; any other text becomes the note of a ``@misc``.

    Examples
    --------
    >>> print(bibtex(["Doe J, Roe R, et al. Of brains. NeuroImage 2021;1:2-3. doi:10.1/x (data)"]).split("\n\n")[1])
    @article{doe2021,
      author = {Doe, J. and Roe, R. and others},
      title = {{Of brains}},
      journal = {NeuroImage},
      year = {2021},
      volume = {1},
      pages = {2-3},
      doi = {10.1/x}
    }
    """
    keys: dict[str, int] = {}
    parts = [_SOFTWARE_ENTRY]
    for kind, fields in {str(fields): (kind, fields) for kind, fields in map(_fields, entries)}.values():
        surname = re.sub(r"\W", "", re.split(r"[\s,]", next(iter(fields.values())), maxsplit=1)[0].lower()) or "paper"
        key = surname + fields.get("year", "")
        keys[key] = keys.get(key, 0) + 1
        key += "" if keys[key] == 1 else f"-{keys[key]}"
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        parts.append(f"@{kind}{{{key},\n{lines}\n}}")
    return "\n\n".join(parts)


def _fields(entry: str) -> tuple[str, dict[str, str]]:
    article = _ARTICLE.fullmatch(entry.strip())
    if not article:
        links = {name: match[1] for name, pattern in _LINKS.items() if (match := pattern.search(entry))}
        if "eprint" in links:
            links["archiveprefix"] = "arXiv"
        return "misc", {"note": _escaped(entry), **links}
    fields: dict[str, Any] = article.groupdict()
    written = {name: text if name == "doi" else _escaped(text) for name, text in fields.items() if text}
    written["author"] = " and ".join(_author(name) for name in re.split(r",\s*", written["author"]))
    return "article", written | {"title": f"{{{written['title']}}}"}


def _author(name: str) -> str:
    """Return ``Doe, J. R.`` of ``Doe JR``, and what BibTeX writes for ``et al``."""
    surname, _, initials = name.rpartition(" ")
    if name == "et al":
        return "others"
    if not surname or not initials.isupper():
        return name
    return f"{surname}, {' '.join(f'{letter}.' for letter in initials)}"


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
