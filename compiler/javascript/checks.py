"""What must hold of a handler's parts: what travels is plain data, state and the framework are where they may be, and
what ends early leaves nothing out. Raises Uncut.
"""

from __future__ import annotations

from compiler.facts import Facts
from compiler.javascript.pieces import REQUEST, Rest, Uncut, changed_in, covers, fields_read, leaves, left_to_do, meets
from compiler.javascript.ruptures import Ruptures
from compiler.javascript.scopes import Function
from compiler.javascript.syntax import Node
from compiler.javascript.values import Obj, Once, Part, Plain, Value
from compiler.program import Role
from compiler.reach import reach


class Checks(Ruptures):
    def needs(self) -> list[list[str]]:
        """For each part: the names that it uses and does not declare."""
        declared = set(self._current) | ({REQUEST} if self.fields else set())
        found: list[list[str]] = []
        for piece in self.pieces:
            given: set[str] = set()
            needed: dict[str, None] = {}
            for line in piece.lines:
                needed |= dict.fromkeys(name for name in line.uses if name not in given)
                for node in line.nodes:
                    for name in self._names(node):
                        if name in declared and name not in given:
                            needed[name] = None
                    if piece.role is Role.STEP and REQUEST not in line.text and self._uses(node, self._request):
                        raise Uncut(f"line {node.line} uses the request between its calls", node.place,
                                    "take what it needs of it in the handler")  # fmt: skip
                if REQUEST in line.text and self.fields and piece.role is Role.STEP:
                    needed[REQUEST] = None
                given |= set(line.gives)
            found.append(list(needed))
        return found

    def travelling(self) -> list[list[str]]:
        """What each part sends to the next."""
        needs = self.needs()
        sent: list[list[str]] = []
        wanted = needs[-1]
        for index in range(len(self.pieces) - 2, -1, -1):
            sent.insert(0, wanted)
            gives = {name for line in self.pieces[index].lines for name in line.gives}
            carried = [name for name in wanted if name not in gives]
            wanted = list(dict.fromkeys([*needs[index], *carried]))
        for name in dict.fromkeys(name for names in sent for name in names):
            if name != REQUEST:
                self._check_plain(name)
        return sent

    def _check_plain(self, name: str) -> None:
        functions = {piece.function for piece in self.pieces} | {self._handler}
        for binding, values in self._flow.values.items():
            inside = any(f is not None and binding.scope.function.within(f) for f in functions)
            here = self._called_as.get(binding, binding.name) == name or self._current.get(name) is binding
            if here and inside:
                for value in values:
                    if not self._plain_value(value, set()):
                        why = f"{name} cannot travel in a message: it may be more than plain data"
                        raise Uncut(why, binding.place, "hand on plain data: texts, numbers, lists, objects")

    def _plain_value(self, value: Value, seen: set[Obj]) -> bool:
        target = value.target
        if isinstance(target, Plain | Once):
            return True
        if isinstance(target, Part):
            return bool(target.path)
        if isinstance(target, Obj) and target.kind in ("object", "array", "date", "map", "set", "json", "pair"):
            if target in seen:
                return True
            seen.add(target)
            if self._flow.starts(target.function):
                return False
            return all(self._plain_value(v, seen) for held in target.fields.values() for v in held)
        return getattr(target, "what", "") == "promise"

    def _check_last(self, statement: Node, following: list[Node], rest: Rest | None) -> None:
        """Nothing is done while it waits for the callback."""
        if following or left_to_do(rest) is not None:
            raise Uncut(f"line {statement.line} goes on while it waits", statement.place, "go on in the callback")

    def _check_first(self) -> None:
        """What the first part does to the request and the response is not there any more when the last is run: it
        answers and ends, or leaves them alone."""
        asked = any(self._uses(node, self._request) for line in self.pieces[-1].lines for node in line.nodes)
        for node in (inner for line in self.pieces[0].lines for top in line.nodes for inner in top.walk()):
            if self._role(node) and self._role(node) != self._request and not leaves(node):
                raise Uncut(f"line {node.line} begins the answer before it waits", node.place, "do it where it answers")
            changed = changed_in(node)
            if changed is not None and self._uses(changed, self._request):
                why = f"line {node.line} changes the request before it waits"
                raise Uncut(why, node.place, "keep it in a variable")
            if asked and node.type == "call_expression":
                self._check_handed(node)

    def _check_early(self) -> None:
        """What goes on early goes on with the next part, and with all of it."""
        for statement, index, rest in self._early_ends:
            end = (index, len(self.pieces[index].lines))
            if not any(end == (after, lines) for resumed, after, lines in self._resumed if resumed is rest):
                why = f"line {statement.line} goes on early"
                raise Uncut(why, statement.place, "go on at the end, or answer there")

    def _check_handed(self, call: Node) -> None:
        """A function that is given the request may change it."""
        for index, argument in enumerate(call["arguments"].kids):
            if self._role(argument) != self._request:
                continue
            for function in self._flow.called_at.get(call, ()):
                parameter = function.parameters[index] if index < len(function.parameters) else None
                if parameter is not None and (
                    parameter.type != "identifier" or fields_read(function, parameter) is None
                ):
                    why = f"line {call.line} hands the request on before it waits"
                    raise Uncut(why, call.place, "hand on what it needs of it")

    def check(self, facts: Facts, units: dict[Function, str], state: set[str]) -> None:
        """No state and no framework after the first part."""
        for piece in self.pieces:
            if piece.role is Role.START:
                continue
            for function in piece.called:
                reached = reach(facts, [(units[function], ())]) if function in units else None
                if reached is None:
                    raise Uncut(f"{function.name} is not seen", function.node.place)
                for touch in reached.touches:
                    if touch.use.variable in state:
                        why = f"line {touch.use.place.line} touches {touch.use.variable} after the first part"
                        start = self.pieces[0]
                        alone = piece is self.pieces[1] and not start.called and start.function in (None, self._handler)
                        if alone and not function.asynchronous:  # it is the first function, but is waited for
                            why = f"line {touch.use.place.line} touches {touch.use.variable} and calls back"
                            remedy = f"let {function.name} return its result, then it is the first part"
                            raise Uncut(why, touch.use.place, remedy)
                        raise Uncut(why, touch.use.place, "touch it in the first function, before that calls another")
                thrown = next((n for n in function.node.walk() if n.type == "throw_statement"), None)
                if thrown is not None:
                    raise Uncut(f"line {thrown.line} throws", thrown.place, "throw in the handler itself")
            self._check_touches(facts, [node for line in piece.lines for node in line.nodes], state)

    def _check_touches(self, facts: Facts, nodes: list[Node], state: set[str]) -> None:
        """Neither by themselves nor by what they call, such as methods of the service's own classes."""
        for unit in facts.units:
            if not any(meets(node, unit) for node in nodes):
                continue
            touched = [(use.place, use.variable) for use in unit.uses if use.variable in state]
            for call in unit.calls:
                if any(covers(node, call.place) for node in nodes):
                    reached = reach(facts, [(call.callee, ())])
                    touched += [(call.place, t.use.variable) for t in reached.touches if t.use.variable in state]
            for place, variable in touched:
                if any(covers(node, place) for node in nodes):
                    why = f"line {place.line} touches {variable} after the first part"
                    raise Uncut(why, place, "touch it in the first function, before that calls another")
