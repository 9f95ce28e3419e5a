"""Built pages as a reader's browser sees them: text, anchors, links, and the inventory of all entries."""

from __future__ import annotations

import zlib
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """One page: what can be linked to, where it links to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.text = squeezed("".join(self._text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {values["id"]} if values.get("id") else set()
        if link := values.get("href" if tag in ("a", "link") else "src"):
            self.links.append(link)

    def handle_data(self, data: str) -> None:
        self._text.append(data)


class Site:
    """All pages of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pages: dict[str, Page] = {}

    def page(self, name: str) -> Page:
        """The page *name*, such as ``reference/errors.html``."""
        if name not in self._pages:
            self._pages[name] = Page((self.folder / name).read_text(encoding="utf-8"))
        return self._pages[name]

    @cached_property
    def inventory(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Kind and name of every entry, to its page and anchor."""
        content = (self.folder / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]
        found = {}
        for line in zlib.decompress(content).decode().splitlines():
            name, kind, _, address, _ = line.split(maxsplit=4)
            page, _, anchor = address.partition("#")
            found[kind, name] = page, anchor.replace("$", name)
        return found

    def entry(self, kind: str, name: str) -> Page:
        """The page that describes *name*, on which its anchor is."""
        assert (kind, name) in self.inventory, f"{name} is in no page"
        page, anchor = self.inventory[kind, name]
        assert anchor in self.page(page).ids, f"{page} has no anchor {anchor}"
        return self.page(page)


def squeezed(text: str) -> str:
    """*text* without Markdown's backquotes and with single blanks, to be compared with a page's."""
    return " ".join(text.replace("`", "").split())
