"""Which patterns RE2 compiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.formats.gemini.patterns import MOST_REPEATS, compiles

GOOD = [
    "",
    "^$",
    r"^[a-z]{2,10}$",
    r"[\w-.]+@[\w-]+\.[a-z]{2,}",
    r"^\d{4}-\d{2}-\d{2}$",
    r"^(?i)abc(?-i:d)(?s:.)",
    r"(?P<a>x)(?<b>y)",
    r"(?:a|b|)*?c??d+?",
    "a{,3}",
    "a{x}",
    r"\p{L}\P{Greek}\pN[\p{Lu}\p{^Han}]",
    "[[:alpha:]_[:^digit:]]",
    r"[^\]][]a][a-][--/][!-~]",
    r"\/\-\_\$\.\{",
    r"\x41\x{1F600}\x{0010FFFF}\a\012\0",
    r"[\d\-a-z\x00-\x1f]",
    r"\Qa.b*(\E+\Q(",
    r"\bfoo\b\B\A\z",
    "(a{10}){100}",
    f"a{{{MOST_REPEATS}}}",
    "[一-龥]+é",
    "^*",
]
LOOKAROUNDS = ["(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", r"^(?!.*\.\.)[\w.]+$"]
BACKREFERENCES = [r"(a)\1", r"(?<a>x)\k<a>", "(?P<a>x)(?P=a)", r"(a)\g1", r"\8"]
POSSESSIVE = ["a++", "a*+", "a?+", "a{2}+", "(?>a)", "a**", "x{2}{3}", "a+?+"]
CLASSES = [
    r"\p{Script=Greek}",
    r"\p{Letter}",
    r"\p{Emoji}",
    r"\p{IsGreek}",
    r"[\p{Alphabetic}]",
    r"\pQ",
    r"\p{}",
    r"\p",
    r"\h",
    r"\R",
    r"\X",
    "[[:foo:]]",
]
ESCAPES = [
    r"\u00e9",
    r"\u{1F600}",
    r"\cA",
    r"\Z",
    r"\G",
    r"\K",
    r"\e",
    r"[\b]",
    r"\N{DASH}",
    "\\",
    r"\é",
    r"\x{110000}",
    r"\x4",
]
GROUPS = ["(?#c)", "(?(1)a)", "(?x)a b", "(?<a>x)(?<a>y)", "(?|a|b)", "(?R)", "(?"]
BROKEN = ["(a", "a)", "[a", "[]", "[^]", "[z-a]", r"[a-\d]", "*a", "a|*", "(*)", "(?i)*", "a{3,2}"]
REPEATED = [
    f"a{{{MOST_REPEATS + 1}}}",
    "(a{100}){11}",
    "((a{10}){10}){11}",
    "a{99999999999999999999}",
    "(" * 500 + ")" * 500,
]


@pytest.mark.parametrize("pattern", GOOD)
def test_what_re2_compiles(pattern):
    assert compiles(pattern)


@pytest.mark.parametrize(
    "pattern", LOOKAROUNDS + BACKREFERENCES + POSSESSIVE + CLASSES + ESCAPES + GROUPS + BROKEN + REPEATED
)
def test_what_re2_does_not_compile(pattern):
    assert not compiles(pattern)
    assert not compiles(f"x{pattern}") or pattern == "*a"


@given(st.text(alphabet="ab()[]{}\\?*+|^$-:<>=!PpdwQE1,i\u00e9", max_size=20))
def test_any_text_is_read(pattern):
    assert compiles(pattern) in (True, False)
