"""Reads pages of reports."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Texts and elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.within = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_endtag(self, tag):
        while self.within and self.within.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "script"} & set(self.within) and data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self):
        return " ".join(self.texts)


def rows_of(page, caption):
    """The cells' texts of the table with a caption, row by row."""
    (table,) = (
        table
        for table in re.findall(r"<table.*?</table>", page, re.DOTALL)
        if f"<caption>{caption}</caption>" in table
    )
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    ]
