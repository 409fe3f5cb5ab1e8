"""Rules of `faults` as they are typed."""

import pytest

from claude_relay.core.config import ConfigError, FaultRule, Match, parse
from claude_relay.core.config.rules import fault_rule, in_words


def test_words_are_a_rule():
    typed = "529 attempt=1 probability=0.5 model=claude-opus-* stream=true lasts=2s"
    assert fault_rule(typed.split()) == FaultRule(
        fault="529", attempt=1, probability=0.5, lasts="2s", match=Match(model="claude-opus-*", stream=True)
    )
    assert fault_rule(["fault=cut", "after=10"]) == FaultRule(fault="cut", after=10)
    assert in_words(fault_rule(typed.split())) == "attempt=1 probability=0.5 model=claude-opus-* stream=True"
    assert in_words(FaultRule(fault="cut", match=Match(header={"x-a": "b*"}))) == "header.x-a=b*"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "which fault"),
        ("attempt=1", "which fault"),
        ("530", "no fault has this name"),
        ("ctu", "did you mean 'cut'"),
        ("cut 529", "fault is given twice"),
        ("cut atempt=1", "did you mean 'attempt'"),
        ("529 attempt=0", "attempt: must be a whole number from 1 to 1000"),
        ("529 probability=0", "probability: must be a share above 0"),
        ("529 stream=maybe", "match.stream: must be true or false"),
        ("529 after=3", "'529' has no place in an answer"),
        ("cut lasts=3s", "'cut' has no length"),
    ],
)
def test_mistakes_are_explained(typed, told):
    with pytest.raises(ValueError, match=told):
        fault_rule(typed.split())


def test_mistakes_in_the_file_have_their_line():
    text = "faults:\n  - {fault: 529}\n  - {fault: 530}\n  - {fault: cut, lasts: 1s}\n  - {fault: 429, when: now}\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, environ={})
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["relay.yaml:3", "relay.yaml:4", "relay.yaml:5"]
    assert "unknown key" in lines[2]
