"""What names mean in the parts of a handler: the same as where they were written, or they are called otherwise. The
text of parts. Knows neither calls nor what parts may do.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.javascript.flow import Flow
from compiler.javascript.pieces import NAMES, SHORT_PATTERN, Clash, Line, Piece, Rest, Uncut, declares
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import Func
from compiler.program import Role


class Naming:
    def __init__(self, flow: Flow, handler: Function, called: dict[Binding, str] | None = None) -> None:
        """`called`: what declarations are called in the parts, if not as in the source."""
        self._flow = flow
        self._called_as = dict(called or {})
        self._same: dict[Binding, Binding] = {}
        """Parameters that are given a variable and never another value: they mean that variable."""
        self._handler = handler
        self._data = flow.service.sources[handler.file].text.encode()
        names = [p.text for p in handler.parameters]
        self._request, self._response, self._next = [*names, "", "", ""][:3]
        self._framework = {p.binding: p.text for p in handler.parameters if p.binding is not None}
        """What the handler was given, also where own functions are handed it."""
        self._early_ends: list[tuple[Node, int, Rest]] = []
        """Statements that go on early, the part they are in, and with what they go on."""
        self._resumed: list[tuple[Rest, int, int]] = []
        """After which part and which of its lines."""
        self._replaced_by: dict[Node, str] = {}
        self._replaced: dict[Node, Node] = {}
        """Calls in arguments -> the parameter that has the result."""
        self.pieces = [Piece(Role.START, function=handler)]
        self._rests: dict[Binding, Rest] = {}
        self._active: list[Function] = [handler]
        self._awaiting = [False]
        self._current: dict[str, Binding] = {}
        """Which declaration each name means at this point."""
        self.fields: dict[str, None] = {}
        """What the parts need of the request."""
        self.asked: set[Function] = set()
        """Functions that read headers by the request's methods."""

    def _bind(self, name: Node, argument: Node) -> None:
        self._check_names(argument)
        self._give(name, argument)

    def _give(self, name: Node, argument: Node) -> None:
        text, said = self._text(argument), self._said(name)
        if text != said:
            self._add(Line(f"const {said} = {text};", [argument], (said,)))
        elif None not in (name.binding, argument.binding) and not name.binding.assigned + argument.binding.assigned:
            self._same[name.binding] = self._meant(argument.binding)
        self._means(name)

    def _means(self, name: Node) -> None:
        if name.binding is not None:
            self._current[self._said(name)] = self._meant(name.binding)

    def _meant(self, binding: Binding) -> Binding:
        return self._same.get(binding, binding)

    def _said(self, node: Node) -> str:
        """A name, as the parts call it."""
        return self._called_as.get(node.binding, node.text) if node.binding is not None else node.text

    def _check_names(self, node: Node) -> None:
        """Its names mean what they meant where it was written."""
        for inner in self._inner(node):
            binding = inner.binding
            if inner.type not in ("identifier", "shorthand_property_identifier") or binding is None:
                continue
            known = self._current.get(self._said(inner))
            within = node.start <= binding.node.start < node.end and binding.node.file == node.file
            if known is not None and known is not self._meant(binding) and not within:
                raise Clash(known, inner.place)

    def _check_given(self, given: list[tuple[Node, Node]]) -> None:
        """Arguments are all evaluated before the first parameter has its value: none may take another's name."""
        for _, argument in given:
            self._check_names(argument)
        for parameter, own in given:
            for _, argument in given:
                used = [n for n in self._inner(argument) if n.type in NAMES and n.binding is not None]
                if argument is not own and any(self._said(n) == self._said(parameter) for n in used):
                    if own.type == "identifier" and self._said(own) == self._said(parameter):
                        continue  # it has the value that it had
                    raise Clash(parameter.binding, argument.place)

    def _role(self, node: Node) -> str:
        """What the handler calls it, if it is something that the handler was given by the framework."""
        return self._framework.get(node.binding, "") if node.type in NAMES and node.binding is not None else ""

    def _uses(self, node: Node, name: str) -> bool:
        return bool(name) and any(self._role(n) == name for n in self._inner(node))

    def _answers_with(self, node: Node) -> bool:
        """It uses the response, or hands the request on to others."""
        return self._uses(node, self._response) or self._uses(node, self._next)

    def _is_elsewhere(self, node: Node) -> bool:
        """The request, or a variable of the module that is no function."""
        if self._role(node):
            return True
        binding = node.binding
        if node.type != "identifier" or binding is None or not binding.scope.function.module:
            return False
        return not all(isinstance(value.target, Func) for value in self._flow.values.get(binding, set()))

    def _inner(self, node: Node) -> Iterator[Node]:
        """It and what is in it, parameters in the place of calls that have been made."""
        todo = [node]
        while todo:
            at = self._replaced.get(inner, inner) if (inner := todo.pop()) is not node else inner
            yield at
            todo += reversed(at.kids)

    def _text(self, node: Node) -> str:
        text = self._renamed(node)
        first = self._data.rfind(b"\n", 0, node.start) + 1
        line = self._data[first : node.start].decode()
        indent = line[: len(line) - len(line.lstrip())]
        return "\n".join([text.split("\n")[0], *(part.removeprefix(indent) for part in text.split("\n")[1:])])

    def _renamed(self, node: Node) -> str:
        """Its text, with names as the parts call them, and what stands for calls that have been made."""
        pieces: list[bytes] = []
        at = node.start
        todo = [node]
        while todo:
            inner = todo.pop()
            said = self._replaced_by.get(inner)
            if inner in self._replaced and inner is not node:
                said = self._said(self._replaced[inner])
            elif inner.binding in self._called_as and inner.type in (*NAMES, SHORT_PATTERN):
                name = self._called_as[inner.binding]
                said = name if inner.type == "identifier" else f"{inner.text}: {name}"
            if said is None:
                todo += reversed(inner.kids)
            else:
                pieces += [self._data[at : inner.start], said.encode()]
                at = inner.end
        return b"".join([*pieces, self._data[at : node.end]]).decode()

    def _names(self, node: Node) -> list[str]:
        """What it uses; what it declares has no value before it."""
        declared = {id(each) for each in declares(node)}
        used = (n for n in self._inner(node) if n.type in NAMES and n.binding is not None and id(n) not in declared)
        return list(dict.fromkeys(self._said(n) for n in used))

    def _add(self, line: Line) -> None:
        for node in line.nodes:
            for inner in node.walk():
                if inner.type == "template_string" and inner.last > inner.line:
                    raise Uncut(f"line {inner.line} has a text over several lines", inner.place, "name it outside")
        self.pieces[-1].lines.append(line)

    @property
    def request(self) -> str:
        return self._request
