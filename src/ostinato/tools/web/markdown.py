"""A page of HTML as Markdown: what it says, without what surrounds it on every page of its site.

Whatever a page is made of, something readable comes out. Knows nothing of how the page was fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from ostinato.domain.values import Value

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

HTML_CHARS_MAX = 1_500_000
"""Of a page that is read; what is beyond is left out: parsing takes about a second a megabyte."""

_NOISE = re.split(
    " ",
    "script style noscript template svg canvas iframe object embed nav footer aside form button input select dialog",
)
_MAIN_SHARE = 0.4
"""Of a page's text, which its main part must hold to be taken for the whole."""
_BLANK_LINES = re.compile(r"\n[ \t]*\n[ \t\n]*\n")


class Readable(Value):
    """A page as it is read."""

    title: str
    text: str
    is_whole: bool = True


def readable(html: str, *, url: str) -> Readable:
    """The page's title and its main part; links are whole addresses."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    page = BeautifulSoup(html[:HTML_CHARS_MAX], "html.parser")
    title = page.title.get_text(" ", strip=True)[:300] if page.title else ""
    try:
        part = _main(page)
        for link in part.find_all("a", href=True):
            link["href"] = _whole(url, str(link["href"]))
        text = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(part)
    except RecursionError:  # nested deeper than any page is
        text = re.sub(r"<[^>]*>", " ", html[:HTML_CHARS_MAX])
    text = _BLANK_LINES.sub("\n\n", text).strip()
    return Readable(title=title, text=text, is_whole=len(html) <= HTML_CHARS_MAX)


def _main(page: BeautifulSoup) -> Any:
    """The part that the page itself calls its main one, where that holds most of what it says."""
    for each in page(_NOISE):
        each.decompose()
    body = page.body or page
    everything = len(body.get_text(strip=True))
    for name in ("main", "article"):
        found = body.find(name)
        if found is not None and len(found.get_text(strip=True)) >= _MAIN_SHARE * everything:
            return found
    return body


def _whole(url: str, link: str) -> str:
    try:
        return urljoin(url, link)
    except ValueError:
        return link
