"""Pictures of 16 by 16, drawn with one line of 1.5 in the colour of the text: the inside of an <svg>."""

from __future__ import annotations

from typing import Final


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/>'


ICONS: Final = {
    "overview": _line("M2 9.5 5.5 6l3 3L14 3.5M10.5 3.5H14V7M2 13.5h12"),
    "requests": _line("M2 4.5h9.5M9 2l2.5 2.5L9 7M14 11.5H4.5M7 9l-2.5 2.5L7 14"),
    "sessions": _line(
        "M4 2.5v6M4 5h6.5a1.5 1.5 0 0 1 1.5 1.5V8M4 2.5h0M2.5 11a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0M10.5 10a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0"
    ),
    "usage": _line("M3 13.5v-5M8 13.5v-11M13 13.5V6"),
    "keys": _line("M9 7a3.5 3.5 0 1 0-2 2l1 1h1.5v1.5H11V13h2.5v-2.5L9 6.5M5.5 5.5h0"),
    "providers": _line("M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01"),
    "clients": _line(
        "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M1.5 13.5c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4M11 2.7a2.5 2.5 0 0 1 0 4.6M12 9.8c1.6.5 2.5 1.8 2.5 3.7"
    ),
    "accounts": _line("M8 8a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M3 13.5c.3-2.3 2.3-3.5 5-3.5s4.7 1.2 5 3.5"),
    "proxies": _line("M9.5 2.500h-6v11h6M6.5 8H14M11.500 5.500 14 8l-2.500 2.500M9.5 2.500v2M9.5 11.500v2"),
    "budgets": _line(
        "M8 1.5v13M11.5 4.5C11 3.4 9.7 3 8 3 6 3 4.5 3.8 4.5 5.3 4.5 8.8 11.5 7.2 11.5 10.7 11.5 12.2 10 13 8 13c-1.8 0-3.2-.5-3.7-1.7"
    ),
    "playground": _line("M2.5 3h11v8H7l-3 2.500V11H2.500zM5.5 6h5M5.5 8.500h3"),
    "notices": _line("M8 2a4 4 0 0 0-4 4c0 4-1.5 5-1.5 5h11S12 10 12 6a4 4 0 0 0-4-4M6.7 13.500a1.5 1.5 0 0 0 2.6 0"),
    "audit": _line("M4 2h8v12H4zM6 5h4M6 8h4M6 11h2.5"),
    "settings": _line(
        "M2 4.500h6M12 4.500h2M2 11.500h2M8 11.500h6M10 6.300a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.600M6 13.300a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6"
    ),
    "search": _line("M7 11.500a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9M10.5 10.5 14 14"),
    "plus": _line("M8 3v10M3 8h10"),
    "check": _line("M3 8.5 6.5 12 13 4.5"),
    "close": _line("M4 4l8 8M12 4l-8 8"),
    "up": _line("M8 13V3M4 7l4-4 4 4"),
    "down": _line("M8 3v10M4 9l4 4 4-4"),
    "grip": _line("M6 4h.01M10 4h.01M6 8h.01M10 8h.01M6 12h.01M10 12h.01"),
    "stop": _line("M4 4h8v8H4z"),
    "play": _line("M5 3l8 5-8 5z"),
    "copy": _line("M5.5 5.500h8v8h-8zM10.5 5.500v-3h-8v8h3"),
    "more": _line("M3.5 8h.01M8 8h.01M12.5 8h.01"),
    "out": _line("M6 2.500H3v11h3M7 8h7M11 5l3 3-3 3"),
    "theme": _line(
        "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6M8 1.500v1M8 13.500v1M1.5 8h1M13.5 8h1M3.4 3.400l.7.7M11.9 11.900l.7.7M12.6 3.400l-.7.7M4.1 11.900l-.7.7"
    ),
    "language": _line(
        "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12M2 8h12M8 2c2 2 2.5 4 2.5 6S10 12 8 14M8 2C6 4 5.5 6 5.5 8S6 12 8 14"
    ),
    "link": _line("M6.5 9.500l3-3M7 4.5 8.5 3A3 3 0 0 1 13 7.500L11.5 9M9 11.5 7.5 13A3 3 0 0 1 3 8.500L4.5 7"),
    "warning": _line("M8 2 1.5 13.500h13zM8 6.500v3.500M8 11.800h.01"),
}
"""Name → picture."""
