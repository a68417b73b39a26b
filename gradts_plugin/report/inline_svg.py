"""Puts a drawing into a page: its colours become the page's, its parts say what they show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from gradts_plugin.report.figures.files import saved
from gradts_plugin.report.figures.picture import Picture
from gradts_plugin.report.figures.style import COLOURS, drawing_settings

__all__ = ["inline_svg"]

_NAMESPACE = re.compile(r"\{[^}]*\}")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_FONT_FAMILY = re.compile(r"font-family: [^;]*;\s*")
_PAGE_COLOURS = {colour: f"var(--figure-{name})" for name, colour in COLOURS.items()}


def inline_svg(picture: Picture) -> str:
    """Draws a picture as an `<svg>` element for the inside of an HTML page.

    Colours are CSS variables (`--figure-ink`, ...), fonts the page's, parts have `<title>`s, and
    ids are unique among the pictures of a page.

    Args:
        picture: what to draw.

    Returns:
        The element; text in it is escaped.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with drawing_settings():
        drawing = picture.draw()
        # What matplotlib just wrote, no foreign data.
        root = ElementTree.fromstring(saved(drawing.figure, "svg"))  # noqa: S314
    for element in root.iter():
        _localise(element)
    _remove(root, "metadata", "style", "clipPath")
    _add_titles(root, drawing.titles)
    _rename_ids(root, picture.name)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    # matplotlib measures in points, a page in pixels.
    root.set("style", f"--natural: {width * 4 / 3:.0f}px")
    root.set("aria-hidden", "true")  # the element around it describes the picture
    return ElementTree.tostring(root, encoding="unicode")


def _localise(element: ElementTree.Element) -> None:
    """HTML knows SVG without namespaces; long decimals and fonts are the drawing program's."""
    element.tag = _NAMESPACE.sub("", element.tag)
    attributes = {_NAMESPACE.sub("", key): value for key, value in element.attrib.items()}
    attributes.pop("clip-path", None)  # nothing is drawn outside its axes
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "d" in attributes:
        attributes["d"] = _shorter(" ".join(attributes["d"].split()))
    if "style" in attributes:
        style = _FONT_FAMILY.sub("", attributes["style"])
        for colour, variable in _PAGE_COLOURS.items():
            style = style.replace(colour, variable)
        attributes["style"] = _shorter(style)
    element.attrib.clear()
    element.attrib.update(attributes)
    if element.tag != "text":
        element.text = None
    element.tail = None


def _shorter(numbers: str) -> str:
    return _NUMBER.sub(lambda match: f"{float(match[0]):.2f}", numbers)


def _remove(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in tags:
                parent.remove(child)


def _add_titles(root: ElementTree.Element, titles: Mapping[str, Sequence[str]]) -> None:
    for element in root.iter():
        said = titles.get(element.get("id", ""))
        if said is None:
            continue
        if len(said) == 1:
            _add_title(element, said[0])
            continue
        parts = [part for part in element.iter() if part.tag in ("path", "use")]
        for part, text in zip(parts, said, strict=True):
            _add_title(part, text)


def _add_title(element: ElementTree.Element, text: str) -> None:
    title = ElementTree.Element("title")
    title.text = text
    element.insert(0, title)


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Keeps the ids that are referred to, under a name that no other picture has."""
    used = {
        element.attrib["href"].removeprefix("#")
        for element in root.iter()
        if "href" in element.attrib
    }
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier in used:
            element.set("id", f"{prefix}-{identifier}")
        if "href" in element.attrib:
            element.set("href", f"#{prefix}-{element.attrib['href'].removeprefix('#')}")
