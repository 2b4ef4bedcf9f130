"""Reads the shop's pages as a browser without JavaScript does: forms, and what they would send."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

ADD_TO_CART = "/cart/add/"


@dataclass
class PageForm:
    action: str
    method: str
    # What is sent if nobody touches the form.
    fields: dict[str, str] = field(default_factory=dict)
    # Radio buttons and select boxes: what may be chosen.
    choices: dict[str, list[str]] = field(default_factory=dict)


def read_forms(html: str) -> list[PageForm]:
    reader = _FormReader()
    reader.feed(html)
    return reader.forms


def offers_something(html: str) -> bool:
    """Can a phone be bought from this page, or does it tell search engines so?"""
    return any(form.action.endswith(ADD_TO_CART) for form in read_forms(html)) or '"@type": "Offer"' in html


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[PageForm] = []
        self._form: PageForm | None = None
        self._select = ""
        self._textarea = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = PageForm(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._form)
        elif self._form is None or "disabled" in given:
            return
        elif tag == "input":
            self._read_input(self._form, given)
        elif tag == "select":
            self._select = given.get("name", "")
        elif tag == "option" and self._select:
            self._choose(self._form, self._select, given, is_chosen="selected" in given)
        elif tag == "textarea":
            self._textarea = given.get("name", "")
            self._form.fields[self._textarea] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._form is not None and self._textarea:
            self._form.fields[self._textarea] += data.removeprefix("\n")

    def _read_input(self, form: PageForm, given: dict[str, str]) -> None:
        name, kind = given.get("name", ""), given.get("type", "text")
        if not name or kind in ("submit", "button", "image", "reset"):
            return
        if kind in ("radio", "checkbox"):
            self._choose(form, name, given, is_chosen="checked" in given)
        else:
            form.fields[name] = given.get("value", "")

    @staticmethod
    def _choose(form: PageForm, name: str, given: dict[str, str], *, is_chosen: bool) -> None:
        value = given.get("value", "")
        form.choices.setdefault(name, []).append(value)
        if is_chosen:
            form.fields[name] = value
