"""Web searches that providers of Chat Completions run by themselves: how they are asked for, and what they say that they found.

    >>> search({"allowed_domains": ["a.org"]}, "some/model", {"web_search": "openrouter"}, demanded=False).tools[0]["parameters"]
    {'allowed_domains': ['a.org'], 'engine': 'exa'}

OpenAI's search models search in any case; what other providers have is told by the option `web_search` (`chat`). What an answer found
is told by `annotations` of its message (OpenAI, OpenRouter), `web_search` beside it (Zhipu), `executed_tools` (Groq), or
`search_results` and `citations` (Perplexity, xAI). It must not know messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from claude_relay.core.bodies.lenient import count, mapping, parse_object, text
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.searching import place_of, restrict
from claude_relay.core.formats.sources import Source
from claude_relay.core.formats.writer import Writer

from .chat_thinking import for_model

_SEARCHES = re.compile(r".*-search(-.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Search:
    """How a search is asked for.

    tools   entries of `tools` that are none of the client's
    fields  of the request
    choice  `tool_choice` for a search that is demanded, where there are no tools of the client's
    notes   what is left out
    """

    tools: tuple[dict[str, object], ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict)
    choice: object = None
    notes: tuple[str, ...] = ()


def search(settings: Json, model: str, options: Json, *, demanded: bool) -> Search:
    """For a search with these settings. Raises Unsuited for a restriction that this provider's search does not heed."""
    if _SEARCHES.fullmatch(model):
        return _by_model(settings)
    name = for_model(options.get("web_search"), model)
    own = SEARCHES.get(name) if isinstance(name, str) else None
    if own is not None:
        return own(settings, demanded)
    restrict(settings)
    notes = ("tools.web_search: left out, this provider has none",)
    return Search(notes=(*notes, "tool_choice: auto, as this provider has no web search") if demanded else notes)


def _by_model(settings: Json) -> Search:
    """https://developers.openai.com/api/docs/guides/tools-web-search?api-mode=chat: a place, but no domains."""
    restrict(settings, "user_location")
    place = place_of(settings)
    where = {"user_location": {"type": "approximate", "approximate": place}} if place else {}
    return Search(fields={"web_search_options": where}, notes=_uses(settings))


def _openrouter(settings: Json, demanded: bool) -> Search:
    """The model calls https://openrouter.ai/docs/guides/features/server-tools/web-search when it wants to; what always searches is the
    plugin, https://openrouter.ai/docs/guides/features/plugins/web-search. Domains are heeded by the engine of Exa's, whatever the model.
    """
    allowed, blocked = settings.get("allowed_domains"), settings.get("blocked_domains")
    names = ("include_domains", "exclude_domains") if demanded else ("allowed_domains", "excluded_domains")
    given: dict[str, object] = {
        name: domains for name, domains in zip(names, (allowed, blocked), strict=True) if domains
    }
    if given:
        given["engine"] = "exa"
    if place := place_of(settings):
        given["user_location"] = {"type": "approximate", **place}
    if uses := count(settings.get("max_uses")):
        given["max_uses"] = uses
    if demanded:
        return Search(fields={"plugins": [{"id": "web", **given}]})
    return Search(({"type": "openrouter:web_search"} | ({"parameters": given} if given else {}),))


def _zhipu(settings: Json, demanded: bool) -> Search:
    """One domain may be told: https://docs.bigmodel.cn/cn/guide/tools/web-search"""
    restrict(settings, "allowed_domains")
    domains = settings.get("allowed_domains")
    listed = domains if isinstance(domains, list) else []
    if len(listed) > 1:
        raise Unsuited("tools.web_search.allowed_domains", "the web search of this provider takes only one domain")
    about: dict[str, object] = {"enable": True, "search_engine": "search_pro", "search_result": True}
    if listed:
        about["search_domain_filter"] = listed[0]
    notes = _uses(settings)
    if demanded:
        notes = (*notes, "tool_choice: auto, as this provider cannot be made to search")
    return Search(({"type": "web_search", "web_search": about},), notes=notes)


def _groq_compound(settings: Json, demanded: bool) -> Search:
    """Its systems search by themselves: https://console.groq.com/docs/web-search"""
    restrict(settings, "allowed_domains", "blocked_domains")
    names = {"allowed_domains": "include_domains", "blocked_domains": "exclude_domains"}
    given = {theirs: settings[ours] for ours, theirs in names.items() if settings.get(ours)}
    return Search(fields={"search_settings": given} if given else {}, notes=_uses(settings))


def _groq_browser(settings: Json, demanded: bool) -> Search:
    """https://console.groq.com/docs/browser-search"""
    restrict(settings)
    return Search(({"type": "browser_search"},), choice="required" if demanded else None, notes=_uses(settings))


SEARCHES: Mapping[str, Callable[[Json, bool], Search]] = {
    "openrouter": _openrouter,
    "zhipu": _zhipu,
    "groq-compound": _groq_compound,
    "groq-browser": _groq_browser,
}
"""By the option `web_search`."""


def _uses(settings: Json) -> tuple[str, ...]:
    return ("tools.web_search.max_uses: left out",) if settings.get("max_uses") else ()


# -- what was found


_IN_MESSAGE = frozenset({"annotations", "executed_tools"})
_BESIDE = frozenset({"search_results", "citations", "web_search"})
_USED = ("server_tool_use", "server_tool_use_details")
"""Where what was found is told, and where in the usage OpenRouter counts searches."""


class Findings:
    """What the answer of one request says that it found. In a stream it may be told before the text, within it, or at its end."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._found: dict[str, Source] = {}
        self._queries: list[str] = []
        self._cites: list[Source] = []
        self._searches = 0
        self._begun = self._reported = False

    def read(self, data: Json, message: Json) -> None:
        """An event, or a whole answer, before its text is written."""
        if not _IN_MESSAGE.isdisjoint(message):
            self._read_message(message)
        if not _BESIDE.isdisjoint(data):
            for name in ("search_results", "citations"):
                self._keep(_sources(data.get(name)))
            self._keep(_sources(data.get("web_search"), url="link"))
        if usage := data.get("usage"):
            used = (mapping(mapping(usage).get(name)).get("web_search_requests") for name in _USED)
            self._searches = max(self._searches, *(count(number) or 0 for number in used))

    def _read_message(self, message: Json) -> None:
        for source in _cited(message.get("annotations")):
            if source.cited or source.url not in {known.url for known in self._cites}:
                self._cites.append(source)
        tools = message.get("executed_tools")
        for tool in map(mapping, tools if isinstance(tools, list) else []):
            results = mapping(tool.get("search_results")).get("results")
            if isinstance(results, list):
                query = text(parse_object((text(tool.get("arguments")) or "").encode("utf-8", "replace")).get("query"))
                self._queries += [query] if query else []
                self._keep(_sources(results))
        self._keep(iter(self._cites))

    def before_text(self) -> None:
        """A text is about to be written."""
        if self._found and not self._reported and not self._begun:
            self._report()
        self._begun = True

    def cite(self) -> None:
        """The text of the message is written."""
        if self._cites:
            self._writer.cite(*self._cites)
            self._cites = []

    def end(self) -> None:
        """The answer is whole."""
        if not self._reported and (self._found or self._searches):
            self._report()

    def _report(self) -> None:
        self._reported = True
        self._writer.searched(self._queries, self._found.values())

    def _keep(self, sources: Iterator[Source]) -> None:
        for source in sources:
            self._found.setdefault(source.url, source)


def _cited(annotations: object) -> Iterator[Source]:
    """https://platform.openai.com/docs/api-reference/chat/object: `url_citation`, nested, or flat as in Responses."""
    for annotation in map(mapping, annotations if isinstance(annotations, list) else []):
        if annotation.get("type") in ("url_citation", None) and (
            source := Source.read(mapping(annotation.get("url_citation")) or annotation)
        ):
            yield source


def _sources(found: object, url: str = "url") -> Iterator[Source]:
    """Pages that are told as objects, or by their addresses alone."""
    for page in found if isinstance(found, list) else []:
        source = Source(page) if isinstance(page, str) and page else Source.read(mapping(page), url=url)
        if source is not None:
            yield source
