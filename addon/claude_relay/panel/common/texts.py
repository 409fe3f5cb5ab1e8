"""Languages: texts stand in English in templates and code, and in `locale/LANGUAGE.po` in others; how numbers, money and times look.

    words = of("zh")                    Words: texts and forms of one language
    words.gettext("Keys")               '密钥'
    words.money(4.1), words.percent(0.934), words.count(12481), words.tokens(12_400), words.span(0.9)
    language(request)                   what the visitor has chosen, else what the browser asks for

Catalogues are read as text (Babel) when the panel begins, so there is nothing to compile. Times are UTC seconds; a visitor's zone comes in
a cookie from the browser.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, dates, negotiate_locale, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.requests import HTTPConnection

MANY: Final = 4096
"""Numbers of each kind whose text is kept."""
LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh": "中文"}
"""By the name that the people who speak them have for them."""
LEAST: Final = 0.0001
"""Dollars: what is less is no more than that."""
CHOSEN, ZONE = "relay-language", "relay-zone"
"""Cookies."""


def N_(text: str) -> str:
    """Marks a text for the catalogues."""
    return text


class Words:
    """One language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.locale = Locale.parse({"zh": "zh_Hans_CN", "en": "en_US"}[language])
        self._catalogue = _catalogue(language)
        self.gettext = self._catalogue.gettext
        self.ngettext = self._catalogue.ngettext
        self.pgettext = self._catalogue.pgettext
        # A page has hundreds of numbers, most of them seen before, and Babel takes its time.
        self.count = lru_cache(MANY)(self._count)
        self.money = lru_cache(MANY)(self._money)
        self.percent = lru_cache(MANY)(self._percent)
        self.npgettext = self._catalogue.npgettext

    # --- numbers: None is a dash ---

    def _count(self, number: float | None) -> str:
        """`12,481`."""
        return "–" if number is None else numbers.format_decimal(round(number), locale=self.locale)

    def tokens(self, number: float | None) -> str:
        """`12.4k`, as the field writes tokens in every language."""
        if number is None:
            return "–"
        for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if abs(number) >= size:
                return f"{number / size:.{1 if abs(number) < 100 * size else 0}f}{unit}"
        return f"{number:.0f}"

    def _money(self, usd: float | None) -> str:
        """`$4.10`; under a cent as many digits as say something."""
        if usd is None:
            return "–"
        if 0 < abs(usd) < LEAST:
            return f"<${LEAST}"
        digits = "0.00" if not 0 < abs(usd) < 0.095 else "0.000" if abs(usd) >= 0.00095 else "0.0000"
        return numbers.format_currency(usd, "USD", f"¤#,##{digits}", locale=self.locale, currency_digits=False).replace(
            "US$", "$"
        )

    def amount(self, usd: float | None) -> str:
        """Money where there is little room: `$4.1M`."""
        if usd is None or abs(usd) < 100_000:
            return self.money(usd)
        return f"{'-' if usd < 0 else ''}${self.tokens(abs(usd))}"

    def _percent(self, share: float | None) -> str:
        """`93.4 %` of 0.934."""
        return "–" if share is None else numbers.format_percent(share, "#,##0.0 %", locale=self.locale)

    def span(self, seconds: float | None) -> str:
        """`850 ms`, `2.1 s`, `3 min`, `4 h`, `12 d`; the short ones so in every language."""
        if seconds is None:
            return "–"
        if 0 < seconds < 0.0005:
            return "<1 ms"
        if seconds < 0.9995:
            return f"{seconds * 1000:.0f} ms"
        if seconds < 99.95:
            return f"{seconds:.1f} s"
        for unit, size in ((N_("d"), 86400), (N_("h"), 3600), (N_("min"), 60)):
            if seconds >= 2 * size or unit == "min":
                return f"{seconds / size:.0f} {self.gettext(unit)}"
        return ""

    # --- times ---

    def moment(self, at: float | str | None, zone: tzinfo) -> str:
        """`Nov 27, 2026, 19:40:29`."""
        found = when(at)
        return "–" if found is None else dates.format_datetime(found, "medium", tzinfo=zone, locale=self.locale)

    def day(self, at: float | str | None, zone: tzinfo) -> str:
        """`Nov 27, 2026`."""
        found = when(at)
        return "–" if found is None else dates.format_date(found.astimezone(zone), "medium", locale=self.locale)

    def ago(self, at: float | str | None, now: float) -> str:
        """`2 minutes ago`, `in 3 hours`."""
        found = when(at)
        if found is None:
            return "–"
        seconds = timedelta(seconds=round(found.timestamp() - now))
        return dates.format_timedelta(seconds, add_direction=True, locale=self.locale, format="narrow")


@cache
def of(language: str) -> Words:
    """Those of a language."""
    return Words(language if language in LANGUAGES else "en")


def language(request: HTTPConnection) -> str:
    """The visitor's."""
    if (chosen := request.cookies.get(CHOSEN)) in LANGUAGES:
        return str(chosen)
    wanted = [
        part.partition(";")[0].strip().replace("-", "_")
        for part in request.headers.get("accept-language", "").split(",")
    ]
    found = negotiate_locale([part for part in wanted[:10] if part], list(LANGUAGES), aliases=_ALIASES)
    return found or next((part[:2] for part in wanted[:10] if part[:2] in LANGUAGES), "en")


def zone(request: HTTPConnection) -> tzinfo:
    """The visitor's; this machine's until the browser has said it."""
    name = request.cookies.get(ZONE, "")
    try:
        return ZoneInfo(name) if name and len(name) < 64 else datetime.now().astimezone().tzinfo or UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def when(at: float | str | None) -> datetime | None:
    """A time of the database: seconds, or ISO 8601."""
    try:
        if at is None or at == "":
            return None
        return datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None


_ALIASES: Final = {"zh_CN": "zh", "zh_TW": "zh", "zh_HK": "zh", "zh_Hans": "zh", "en_US": "en", "en_GB": "en"}


def _catalogue(language: str) -> gettext.NullTranslations:
    file = files("claude_relay.panel").joinpath("locale", f"{language}.po")
    if not file.is_file():
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(file.read_bytes()), locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
