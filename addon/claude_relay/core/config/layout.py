"""Which lines of a YAML text belong to an entry of a collection in block style.

An entry has its own lines, and the comments below it that are indented deeper; those right above it in its column go with it when it
is moved. It must not know what is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from .tree import Entry, Kind, Node


class Unusual(Exception):
    """The text is laid out in a way that is not worked on line by line."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Of one entry. `lead`: where the comments right above begin; `begin`: its first line; `stop`: after its last one."""

    lead: int
    begin: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Of a text, of which every line ends with a line feed."""

    text: str

    def line_start(self, at: int) -> int:
        """Of the line that holds this place."""
        return self.text.rfind("\n", 0, at) + 1

    def line_stop(self, at: int) -> int:
        """After the end of that line."""
        found = self.text.find("\n", at)
        return len(self.text) if found < 0 else found + 1

    def column(self, at: int) -> int:
        """Of a place, from 0."""
        return at - self.line_start(at)

    def line(self, start: int) -> str:
        """The line that begins there."""
        return self.text[start : self.line_stop(start)]

    def heads(self, node: Node) -> list[int]:
        """Where each entry begins: at its key, or at its dash."""
        if node.kind is Kind.MAPPING:
            return [entry.key.start if entry.key else entry.value.start for entry in node.entries]
        if not node.entries or self.text[node.start] != "-":
            raise Unusual
        column, found = self.column(node.start), [node.start]
        for entry in node.entries[:-1]:
            at = self.line_stop(max(entry.end, found[-1]))
            while at < len(self.text) and not (self._blank(at, column) and self.text[at + column] == "-"):
                at = self.line_stop(at)
            if at >= len(self.text):
                raise Unusual
            found.append(at + column)
        return found

    def chunks(self, node: Node) -> list[Chunk]:
        """The lines of each entry. Raises Unusual when one shares a line with something else."""
        found: list[Chunk] = []
        for head, entry in zip(self.heads(node), node.entries, strict=True):
            begin = self.line_start(head)
            if self.text[begin:head].strip(" "):
                raise Unusual
            column = head - begin
            floor = found[-1].stop if found else 0
            found.append(Chunk(self._lead(begin, column, floor), begin, self.stop(head, entry)))
        return found

    def stop(self, head: int, entry: Entry) -> int:
        """After the last line of an entry, with the comments that are indented deeper."""
        column = self.column(head)
        stop = at = self.line_stop(max(head, entry.end))
        while at < len(self.text):
            line = self.line(at)
            at += len(line)
            if not line.strip():
                continue
            if not line.lstrip().startswith("#") or len(line) - len(line.lstrip(" ")) <= column:
                break
            stop = at
        return stop

    def _lead(self, begin: int, column: int, floor: int) -> int:
        while begin > floor:
            above = self.line_start(begin - 1)
            if above < floor or not self.line(above).startswith(" " * column + "#"):
                break
            begin = above
        return begin

    def _blank(self, at: int, column: int) -> bool:
        return at + column < len(self.text) and self.text[at : at + column] == " " * column
