"""Walks the code: what each expression may be, until nothing new is found; then once more, noting what each function
touches. The order of statements does not matter to it: what may be at some time may be always.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.facts import Harm, Mode
from compiler.javascript.fields import APP_READS, GLOBALS, TAKEN_OFF
from compiler.javascript.heap import PATH_MAX, Record, TooMuch, Touched, is_word
from compiler.javascript.keying import Keying
from compiler.javascript.libraries import names
from compiler.javascript.modules import Service
from compiler.javascript.scopes import Binding, Class, Function, Scope
from compiler.javascript.syntax import Node, string_value, well_known
from compiler.javascript.values import (
    ANY,
    DATA,
    LITERAL,
    NOTHING,
    PROMISE,
    PROMISED,
    THING,
    Cls,
    Func,
    Key,
    Lib,
    Obj,
    Once,
    Part,
    Plain,
    Value,
    Values,
    Word,
    one,
)

TEXT_MAX = 200
"""Bytes of a literal text that is followed as a value, since it may be a path."""

ROUNDS_MAX = 40
"""Passes over the code until nothing new is found; a program that needs more is kept whole."""

GLOBAL_NAMES = names(
    """Object Array String Number Boolean Math JSON Date Promise Map Set WeakMap WeakSet WeakRef RegExp Error TypeError
    RangeError SyntaxError EvalError URIError ReferenceError Symbol BigInt Reflect Proxy Intl console parseInt
    parseFloat isNaN isFinite encodeURIComponent decodeURIComponent encodeURI decodeURI escape unescape setTimeout
    setInterval setImmediate clearTimeout clearInterval clearImmediate queueMicrotask structuredClone fetch Buffer
    URL URLSearchParams TextEncoder TextDecoder AbortController AbortSignal Headers Request Response FormData Blob
    crypto performance eval Function global globalThis Uint8Array Int8Array Uint16Array Int16Array Uint32Array
    Int32Array Float32Array Float64Array Uint8ClampedArray BigInt64Array BigUint64Array ArrayBuffer
    SharedArrayBuffer DataView AggregateError Atomics Event EventTarget require btoa atob FinalizationRegistry
    Iterator WebSocket"""
)
MATCHES = names("match matchAll replace replaceAll")
"""Methods of texts that go on where a regular expression has come to, or begin again."""

CONSTANTS = {"__dirname", "__filename", "NaN", "Infinity", "undefined"}


class Flow(Keying):
    """All of a service."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.site_arguments = {}
        self.callbacks = {}
        self.globals: dict[str, Binding] = {}
        self.class_code: dict[Class, Function] = {}
        self.module_objects: dict[str, Obj] = {}
        self.settled = False
        self._ways: dict[str, Callable[[Node], Values]] = {
            name.removeprefix("_e_"): getattr(self, name) for name in dir(self) if name.startswith("_e_")
        }

    # The whole

    def run(self) -> None:
        try:
            functions = [
                function
                for source in reversed(self.service.sources.values())
                for function in (source.names.functions if source.names is not None else ())
            ]
            for number in range(ROUNDS_MAX):
                self.dirty = False
                self._round(functions if number == 0 else self._along_calls(functions, down=number % 2 == 1))
                if not self.dirty:
                    self.settled = True
                    break
            self.recording = True
            for record in self.records.values():
                record.answers = record.goes_on = record.waits = False
            self._round(functions)
        except TooMuch:
            self.settled = False

    def _round(self, functions: list[Function]) -> None:
        for function in functions:
            self.function = function
            self._body(function)

    def _along_calls(self, functions: list[Function], *, down: bool) -> list[Function]:
        """In such an order that what is passed goes all the way down in one round, and up what is returned."""
        found: dict[Function, None] = {}
        seen: set[Function] = set()
        for root in functions:
            todo = [(root, False)]
            while todo:
                function, left = todo.pop()
                if left:
                    found[function] = None
                elif function not in seen:
                    seen.add(function)
                    todo.append((function, True))
                    todo += [(callee, False) for callee in self.calls_of.get(function, ()) if callee not in seen]
        own = set(functions)
        callees_first = [function for function in found if function in own]
        return callees_first[::-1] if down else callees_first

    def _body(self, function: Function) -> None:
        self.records.setdefault(function, Record())
        if function.module:
            for kid in function.node.kids:
                self.evaluate(kid)
            return
        for parameter in function.parameters:
            self._defaults(parameter)
        body = function.node.get("body")
        if body is None:
            return
        result = self.evaluate(body)
        if body.type != "statement_block":
            self.put(self.returned.setdefault(function, set()), result)

    def _defaults(self, parameter: Node) -> None:
        """Values that parameters have if none is passed."""
        for node in parameter.walk():
            if node.type in ("assignment_pattern", "object_assignment_pattern"):
                self.assign(node["left"], self.evaluate(node["right"]), declares=True)

    def evaluate(self, node: Node) -> Values:
        way = self._ways.get(node.type)
        if way is not None:
            return way(node)
        for kid in node.kids:
            self.evaluate(kid)
        return DATA

    # Names and literals

    def _e_identifier(self, node: Node) -> Values:
        binding: Binding | None = node.binding
        if binding is None:
            return self._unbound(node)
        if binding.kind == "builtin":
            return self._builtin(binding, node)
        return self.variable(binding, node, quiet=False)

    _e_shorthand_property_identifier = _e_identifier

    def variable(self, binding: Binding, node: Node, *, quiet: bool) -> Values:
        if binding.kind == "import":
            return self._imported(binding, node)
        values = self.held(binding)
        if binding.kind == "function" and not values:
            values = self._declared(binding)
        if binding.kind == "class" and binding.node.parent is not None and binding.node.parent.info is not None:
            values |= one(Cls(binding.node.parent.info))
        if self.recording and not quiet and self.persistent(binding) and self._read_matters(binding, values):
            self.note_variable(binding, Mode.READ, node)
        return values

    def _read_matters(self, binding: Binding, values: Values) -> bool:
        """Naming a constant that holds an object touches nothing: what is done with the object does."""
        if binding.assigned or binding.value is None:
            return not all(isinstance(v.target, Func | Cls) for v in values)
        return any(isinstance(v.target, Plain | Once | Part | Lib | Word) for v in values)

    def note_variable(self, binding: Binding, mode: Mode, node: Node) -> None:
        self.note(Touched(binding, mode, node.place))
        self.touched_at.setdefault(node, {})[binding] = None
        self.done_at.setdefault(node, {})[binding, mode] = None

    def _declared(self, binding: Binding) -> Values:
        parent = binding.node.parent
        if parent is not None and parent.info is not None and isinstance(parent.info, Function):
            self.bind(binding, one(Func(parent.info)))
            return one(Func(parent.info))
        return NOTHING

    def _unbound(self, node: Node) -> Values:
        name = node.text
        if name in CONSTANTS:
            return LITERAL
        if name == "process":
            return one(Lib("process"))
        if name == "arguments":
            function: Function | None = self.function
            while function is not None and function.arrow:
                function = function.parent
            return one(self.extra(f"arguments {function.node.start} {function.file}")) if function else DATA
        if name in GLOBAL_NAMES:
            return one(Lib("global", (name,)))
        return self.variable(self._global_variable(name, node), node, quiet=False)

    def global_property(self, name: str, node: Node) -> set[Value]:
        if name in GLOBAL_NAMES or name in ("process", ANY):
            return set()
        return set(self.variable(self._global_variable(name, node), node, quiet=False))

    def write_global(self, name: str, values: Values, node: Node) -> bool:
        if name in GLOBAL_NAMES or name in ("process", ANY):
            return False
        self._assign_global(self._global_variable(name, node), values, node)
        return True

    def _assign_global(self, binding: Binding, values: Values, node: Node) -> None:
        self.bind(binding, values)
        if self.recording:
            self.note_variable(binding, Mode.WRITE, node)
            self.store(binding, values, node)

    def _global_variable(self, name: str, node: Node) -> Binding:
        """A name that is declared nowhere."""
        there = self.globals.get(name)
        if there is None:
            top = next(s.names.top for s in self.service.sources.values() if s.names is not None)
            there = self.globals[name] = Binding(name, "global", node, Scope(None, top), assigned=1)
        return there

    def _builtin(self, binding: Binding, node: Node) -> Values:
        if binding.name == "require":
            return one(Lib("global", ("require",)))
        module = self.module_object(node.file)
        return one(module) if binding.name == "module" else frozenset(module.fields["exports"])

    def _literal(self, node: Node) -> Values:
        return LITERAL

    def _e_string(self, node: Node) -> Values:
        return one(Plain(True, string_value(node))) if node.end - node.start <= TEXT_MAX else LITERAL

    _e_number = _e_true = _e_false = _e_null = _e_undefined = _e_meta_property = _literal

    def _e_regex(self, node: Node) -> Values:
        flags = node.get("flags")
        if flags is not None and set(flags.text) & {"g", "y"}:
            return one(self.obj(node, "regex", flags.text))
        return LITERAL

    def _e_template_string(self, node: Node) -> Values:
        parts = [self.evaluate(kid.kids[0]) for kid in node.kids if kid.type == "template_substitution" and kid.kids]
        self.as_text((value for part in parts for value in part), node)
        text = self.text_of(node)
        if text is not None:
            return one(Plain(True, text))
        return self.plain(frozenset().union(*parts)) if parts else LITERAL

    def _e_this(self, node: Node) -> Values:
        function: Function | None = self.function
        while function is not None and function.arrow:
            field = _field_around(function)
            if field is not None:
                cls = field.parent.parent.info  # type: ignore[union-attr]
                if "static" in field.words:
                    return one(Cls(cls))
                return frozenset(self.these.get(self.fields_of(cls), set()))
            function = function.parent
        if function is None or function.module:
            return NOTHING
        if function.owner is not None and function.static:  # or of a class that extends it
            return one(Cls(function.owner)) | frozenset(self.these.get(function, set()))
        return frozenset(self.these.get(function, set()))

    def _e_super(self, node: Node) -> Values:
        return self._e_this(node)

    # Functions, classes, objects

    def _e_function_declaration(self, node: Node) -> Values:
        func = one(Func(node.info))
        named = node.get("name")
        if (node.type.endswith("declaration") and named is not None and named.binding is not None) or (
            named is not None and named.binding is not None
        ):
            self.bind(named.binding, func)
        return func

    _e_function_expression = _e_arrow_function = _e_generator_function = _e_function_declaration
    _e_generator_function_declaration = _e_function_declaration

    def _e_class(self, node: Node) -> Values:
        cls: Class = node.info
        code = self.fields_of(cls)
        if self.starts(self.function):
            self.starting.add(code)
        outer = self.function
        for member in node["body"].kids:
            if member.type == "field_definition":
                static = "static" in member.words
                self.function = outer if static else code
                value = member.get("value")
                values = self.evaluate(value) if value is not None else LITERAL
                name = member["property"].text
                if static:
                    self.add(self.extra(cls), name, values)
                else:
                    for this in list(self.these.get(code, set())):
                        if isinstance(this.target, Obj):
                            self.add(this.target, name, values)
                self.function = outer
            elif member.type == "class_static_block":
                self.evaluate(member)
        named = node.get("name")
        if named is not None and named.binding is not None:
            self.bind(named.binding, one(Cls(cls)))
        return one(Cls(cls))

    _e_class_declaration = _e_class

    def fields_of(self, cls: Class) -> Function:
        there = self.class_code.get(cls)
        if there is None:
            there = self.class_code[cls] = Function(cls.node, cls.name, cls.file, cls.function, cls)
        if cls.function is not None and self.starts(cls.function):
            self.starting.add(there)
        return there

    def _e_method_definition(self, node: Node) -> Values:
        return one(Func(node.info))

    def _e_object(self, node: Node) -> Values:
        made = self.obj(node, "object")
        for kid in node.kids:
            if kid.type == "pair":
                name = self._property(kid["key"])
                self.add(made, name, self.evaluate(kid["value"]))
            elif kid.type == "shorthand_property_identifier":
                self.add(made, kid.text, self.evaluate(kid))
            elif kid.type == "method_definition":
                accessor = next((w for w in ("get", "set") if w in kid.words), "")
                name = self._property(kid["name"])
                self.add(made, f"{accessor} {name}" if accessor else name, one(Func(kid.info)))
                self.put(self.these.setdefault(kid.info, set()), one(made))
            elif kid.type == "spread_element":
                values = self.evaluate(kid.kids[0])
                self.walk(values, kid)
                for value in values:
                    self._spread_fields(value, made)
        return one(made)

    def _spread_fields(self, value: Value, into: Obj) -> None:
        target = value.target
        if isinstance(target, Obj) and target.kind not in ("json", "array", "map", "set"):
            for name, held in list(target.fields.items()):
                if name != "__proto__":
                    self.add(into, name, self.inner(value, held))
        else:
            self.add(into, ANY, self.inside(value))

    def _property(self, node: Node) -> str:
        if node.type == "computed_property_name":
            self.evaluate(node.kids[0])
            return well_known(node.kids[0]) or ANY
        return string_value(node) if node.type == "string" else node.text

    def _e_array(self, node: Node) -> Values:
        made = self.obj(node, "array")
        for kid in node.kids:
            self.add(made, ANY, self._argument_values(kid))
        return one(made)

    def _argument_values(self, node: Node) -> Values:
        if node.type == "spread_element":
            values = self.evaluate(node.kids[0])
            self.walk(values, node)
            return self.elements(values)
        return self.evaluate(node)

    # Operators

    def _e_parenthesized_expression(self, node: Node) -> Values:
        return self.evaluate(node.kids[0]) if node.kids else NOTHING

    def _e_sequence_expression(self, node: Node) -> Values:
        result = NOTHING
        for kid in node.kids:
            result = self.evaluate(kid)
        return result

    def _e_ternary_expression(self, node: Node) -> Values:
        once = frozenset(Value(v.target) for v in self.evaluate(node["condition"]) if isinstance(v.target, Once))
        return once | self.evaluate(node["consequence"]) | self.evaluate(node["alternative"])

    def _e_binary_expression(self, node: Node) -> Values:
        operator = node["operator"].text
        left, right = self.evaluate(node["left"]), self.evaluate(node["right"])
        if operator in ("||", "&&", "??"):
            return left | right
        if operator == "in":
            key = self.key_of(node["left"])
            for value in right:
                self.touch(value, Mode.READ, node, key)
        self.as_text(left if operator == "in" else left | right, node)
        if operator == "+":
            head = self._text_in(node["left"], left)
            tail = None if head is None else self._text_in(node["right"], right)
            if head is not None and tail is not None:
                return one(Plain(True, head + tail))
        return self.plain(left | right)

    def _text_in(self, node: Node, values: Values) -> str | None:
        """`text_of` for what has been evaluated: a long sum is not looked at again with each of its terms."""
        if node.type != "binary_expression" or node["operator"].text != "+":
            return self.text_of(node)
        found = [v.target.text if isinstance(v.target, Plain) else None for v in values]
        return found[0] if len(found) == 1 else None

    def _e_unary_expression(self, node: Node) -> Values:
        operator, argument = node["operator"].text, node["argument"]
        if operator == "delete":
            while argument.type == "parenthesized_expression":
                argument = argument.kids[0]
            if argument.type in ("member_expression", "subscript_expression"):
                holders, _, key = self.member(argument)
                self.remove(holders, argument, key)
            return DATA
        values = self.plain(self.evaluate(argument))
        return LITERAL if operator in ("void", "typeof", "!") else values

    def _e_update_expression(self, node: Node) -> Values:
        values = self.plain(self.evaluate(node["argument"]))
        self.assign(node["argument"], LITERAL if values == DATA else values)
        return values

    def _e_await_expression(self, node: Node) -> Values:
        self.record.waits = True
        return self.evaluate(node.kids[0]) - {PROMISE}

    def _e_yield_expression(self, node: Node) -> Values:
        values = self.evaluate(node.kids[0]) if node.kids else NOTHING
        self.put(self.returned.setdefault(self.function, set()), values)
        return DATA

    def _e_spread_element(self, node: Node) -> Values:
        return self._argument_values(node)

    # Members

    def member(self, node: Node) -> tuple[Values, str, Key | None]:
        """What holds the property, its name, and its key if the name is computed."""
        held = self._holder(node["object"])
        if node.type == "member_expression":
            return held, node["property"].text, None
        index = node["index"]
        self.evaluate(index)
        if index.type == "string":
            return held, string_value(index), None
        if index.type == "number":
            return held, ANY, None
        if well_known(index):
            return held, well_known(index), None
        if any(isinstance(v.target, Obj) and v.target.kind in ("app", "router") for v in held):
            return held, self.text_of(index) or ANY, None
        return held, ANY, self.key_of(index)

    def _holder(self, node: Node) -> Values:
        while node.type == "parenthesized_expression" and len(node.kids) == 1:
            node = node.kids[0]
        binding: Binding | None = node.binding
        if node.type == "identifier" and binding is not None and binding.kind not in ("builtin", "import"):
            values = self.values.get(binding, set())
            quiet = not binding.assigned and all(isinstance(v.target, Obj | Func | Cls | Plain) for v in values)
            return self.variable(binding, node, quiet=quiet)
        return self.evaluate(node)

    def _e_member_expression(self, node: Node) -> Values:
        holders, name, key = self.member(node)
        inner = node["object"].get("property")
        if name == "constructor" and inner is not None and inner.text == name:
            return one(Lib("global", ("Function",)))
        return self.read(holders, name, node, key)

    _e_subscript_expression = _e_member_expression

    # Conditions

    def _e_if_statement(self, node: Node) -> Values:
        otherwise = node.get("alternative")
        self._when(node["condition"], [node["consequence"], *([otherwise] if otherwise is not None else [])])
        return NOTHING

    def _e_while_statement(self, node: Node) -> Values:
        self._when(node["condition"], [node["body"]])
        return NOTHING

    def _when(self, condition: Node, branches: list[Node]) -> None:
        """What is done on a condition that differs from run to run differs, too."""
        outer = self.chance
        self.chance = outer | frozenset(Value(v.target) for v in self.evaluate(condition) if isinstance(v.target, Once))
        for branch in branches:
            self.evaluate(branch)
        self.chance = outer

    # Assignment

    def _e_assignment_expression(self, node: Node) -> Values:
        values = self.evaluate(node["right"])
        self.assign(node["left"], values)
        return values

    def _e_augmented_assignment_expression(self, node: Node) -> Values:
        before, values = self.evaluate(node["left"]), self.evaluate(node["right"])
        if node["operator"].text not in ("||=", "&&=", "??="):
            values = self.plain(before | values)
        self.assign(node["left"], values)
        return values | before

    def _e_variable_declarator(self, node: Node) -> Values:
        value = node.get("value")
        if value is not None:
            self.assign(node["name"], self.evaluate(value), declares=True)
        elif node["name"].binding is not None:
            self.bind(node["name"].binding, LITERAL)
        return DATA

    def assign(self, target: Node, values: Values, *, declares: bool = False) -> None:
        kind = target.type
        if kind in ("identifier", "shorthand_property_identifier_pattern"):
            self._assign_name(target, values, declares)
        elif kind in ("member_expression", "subscript_expression"):
            holders, name, key = self.member(target)
            self._by_symbol(target)
            self.write(holders, name, values, target, key)
            self._by_chance(holders, target)
        elif kind in ("assignment_pattern", "object_assignment_pattern"):
            self.assign(target["left"], values | self.evaluate(target["right"]), declares=declares)
        elif kind == "parenthesized_expression":
            self.assign(target.kids[0], values, declares=declares)
        elif kind == "array_pattern":
            maps = [v for v in values if isinstance(v.target, Obj) and v.target.kind == "map"]
            if maps:
                self.walk(maps, target)
                values = values.difference(maps) | self._pairs(maps, target)
            for kid in target.kids:
                self.assign_part(kid, values, ANY, declares)
        elif kind == "object_pattern":
            self._assign_object(target, values, declares)
        elif kind == "rest_pattern":
            self.assign(target.kids[0], values, declares=declares)

    def _pairs(self, maps: list[Value], node: Node) -> Values:
        """What a pattern takes its parts of where it is given a Map: a list of pairs."""
        made = self.obj(node, "array")
        self.add(made, ANY, self.elements(maps))
        return one(made)

    def _by_symbol(self, target: Node) -> None:
        """What is under a symbol is not seen where an object is stored."""
        index = target.get("index")
        if index is None or index.type in ("string", "number") or not self.recording:
            return
        if any(is_word(value, "symbol") for value in self.evaluate(index)):
            self.danger(Harm.OPAQUE, "keeps a value under a symbol", target, "give it a name that is a text")

    def _by_chance(self, holders: Values, target: Node) -> None:
        """Elements that are put in places which differ from run to run."""
        index = target.get("index")
        if index is not None and self.starts(self.function):
            once = frozenset(v for v in self.evaluate(index) if isinstance(v.target, Once))
            for holder in holders if once else ():
                if isinstance(holder.target, Obj):
                    self.add(holder.target, ANY, once)

    def assign_part(self, target: Node, values: Values, name: str, declares: bool, key: Key | None = None) -> None:
        if target.type == "rest_pattern":
            rest = self.obj(target, "array" if name == ANY else "object")
            self.walk(values, target)
            self.add(rest, ANY, self.elements(values))
            self.assign(target.kids[0], one(rest), declares=declares)
            return
        self.assign(target, self.read(values, name, target, key), declares=declares)

    def _assign_object(self, target: Node, values: Values, declares: bool) -> None:
        for kid in target.kids:
            if kid.type == "pair_pattern":
                named = kid["key"]
                name = self._property(named)
                key = self.key_of(named.kids[0]) if named.type == "computed_property_name" else None
                self.assign_part(kid["value"], values, name, declares, key)
            elif kid.type == "object_assignment_pattern":
                self.assign_part(kid, values, kid["left"].text, declares)
            elif kid.type == "rest_pattern":
                rest = self.obj(kid, "object")
                self.walk(values, kid)
                for value in values:
                    self._spread_fields(value, rest)
                self.assign(kid.kids[0], one(rest), declares=declares)
            else:
                self.assign_part(kid, values, kid.text, declares)

    def _assign_name(self, target: Node, values: Values, declares: bool) -> None:
        binding: Binding | None = target.binding
        if binding is None:
            if target.text in GLOBAL_NAMES:
                self.danger(Harm.DYNAMIC, f"changes {target.text}", target, start=True)
                return
            binding = self._global_variable(target.text, target)
        if binding.kind == "builtin":
            if binding.name == "exports":
                self.add(self.module_object(target.file), "exports", values)
            return
        self.bind(binding, values)
        if not declares and self.recording and self.persistent(binding):
            self.note_variable(binding, Mode.WRITE, target)
            self.store(binding, values, target)

    # Statements

    def _e_return_statement(self, node: Node) -> Values:
        if node.kids:
            self.put(self.returned.setdefault(self.function, set()), self.evaluate(node.kids[0]))
        return NOTHING

    def _e_for_in_statement(self, node: Node) -> Values:
        values = self.evaluate(node["right"])
        self.walk(values, node)
        operator = node.get("operator")
        each = self.elements(values) if operator is not None and operator.text == "of" else DATA
        self.assign(node["left"], each, declares=bool(node.words & {"let", "const", "var"}))
        self.evaluate(node["body"])
        return NOTHING

    def _e_with_statement(self, node: Node) -> Values:
        self.danger(Harm.DYNAMIC, "uses with", node, "name the object where it is used", start=True)
        for kid in node.kids:
            self.walk(self.evaluate(kid), node, Mode.ESCAPE)
        return NOTHING

    def _e_catch_clause(self, node: Node) -> Values:
        parameter = node.get("parameter")
        if parameter is not None:
            self.assign(parameter, DATA, declares=True)
        self.evaluate(node["body"])
        return NOTHING

    def _e_labeled_statement(self, node: Node) -> Values:
        self.evaluate(node["body"])
        return NOTHING

    def _nothing(self, node: Node) -> Values:
        return NOTHING

    _e_import_statement = _e_break_statement = _e_continue_statement = _nothing

    # Calls

    def _e_new_expression(self, node: Node) -> Values:
        callees = self.evaluate(node["constructor"])
        arguments, nodes = self._arguments(node)
        return self.construct(callees, arguments, node, nodes)

    def _arguments(self, node: Node) -> tuple[list[Values], list[Node]]:
        there = node.get("arguments")
        if there is None:
            return [], []
        if there.type == "template_string":
            return [LITERAL, self.evaluate(there)], []
        values: list[Values] = []
        for kid in there.kids:
            found = self._argument_values(kid)
            values += [found] * 4 if kid.type == "spread_element" else [found]
        return values, there.kids

    def _e_call_expression(self, node: Node) -> Values:
        callee = node["function"]
        if callee.type == "import" or (
            callee.type == "identifier"
            and callee.text == "require"
            and callee.binding
            and callee.binding.kind == "builtin"
        ):
            return self._require(node)
        while callee.type == "parenthesized_expression" and len(callee.kids) == 1:
            callee = callee.kids[0]
        if callee.type == "super":
            arguments, nodes = self._arguments(node)
            if self.function.owner is not None:
                self.construct_base(self.function.owner, self._e_this(node), arguments, node, nodes)
            return NOTHING
        inner = callee["object"] if callee.type == "member_expression" else callee
        if inner is not callee and callee["property"].text in ("call", "apply") and inner.type == "member_expression":
            taken = inner["property"].text
            if taken in TAKEN_OFF:
                arguments, nodes = self._arguments(node)
                return self._borrowed((taken, callee["property"].text), arguments, node, nodes)
        if callee.type in ("member_expression", "subscript_expression"):
            holders, name, key = self.member(callee)
            arguments, nodes = self._arguments(node)
            return self._method_call(holders, name, key, arguments, node, nodes)
        callees = self.evaluate(callee)
        arguments, nodes = self._arguments(node)
        return self.call_values(callees, NOTHING, arguments, node, nodes)

    def _method_call(
        self, holders: Values, name: str, key: Key | None, arguments: list[Values], node: Node, nodes: list[Node]
    ) -> Values:
        found: set[Value] = set()
        if name in MATCHES:
            for value in frozenset().union(*arguments[:1]):
                if isinstance(value.target, Obj) and value.target.kind == "regex":
                    self.touch(value, Mode.WRITE if "y" in value.target.label else Mode.WALK, node)
        for holder in holders:
            found |= self.method_of(holder, name, arguments, node, nodes)
        return frozenset(found)

    def method_of(self, value: Value, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        target = value.target
        if isinstance(target, Obj) and target.kind in ("app", "router"):
            own = [v for v in target.fields.get(name, set()) if isinstance(v.target, Func)]
            if not own:
                return self.registered(target, name, arguments, node, nodes)
        if isinstance(target, Lib):
            return self._library_method(target, name, arguments, node, nodes)
        if isinstance(target, Word) and target.what == "response":
            return self.of_response(name, arguments, node)
        if isinstance(target, Word) and target.what == "app" and name not in APP_READS:
            if name in ("set", "enable", "disable"):
                self.setting_changed(nodes, node)
            else:
                self.danger(Harm.OPAQUE, f"calls the application's {name} through the request", node)
        elif isinstance(target, Word) and target.what == "app":
            self.setting_read(node)
        if isinstance(target, Part) and target.path == ():
            own_ = [v for v in self.extra("request").fields.get(name, set()) if isinstance(v.target, Func)]
            if not own_:
                return self.of_request(value, name, arguments, node)
        found = self._own_methods(value, name, node)
        if found:
            if isinstance(target, Obj) and "__base__" in target.fields:
                self.touch(value, Mode.WRITE, node)
            this = frozenset({value})
            return frozenset().union(*(self.call_value(m, this, arguments, node, nodes) for m in found))
        if isinstance(target, Obj) and "__base__" in target.fields:
            self.touch(value, Mode.WRITE, node)
            for base in target.fields["__base__"]:
                if isinstance(base.target, Lib):
                    return self.call_library(Lib(base.target.package, (name,)), arguments, node, nodes)
        return self.method(value, name, arguments, node, nodes)

    def _own_methods(self, value: Value, name: str, node: Node) -> list[Value]:
        target = value.target
        if isinstance(target, Func | Cls) and name in ("call", "apply", "bind"):
            return []
        if not isinstance(target, Obj | Func | Cls | Part):
            return []
        if (
            isinstance(target, Obj)
            and target.kind in ("array", "map", "set", "regex", "date", "iterator", THING)
            and name not in target.fields
        ):
            return []
        recording = self.recording
        self.recording = False
        try:
            found = self.read([value], name, node)
        finally:
            self.recording = recording
        return [
            v
            for v in found
            if isinstance(v.target, Func | Lib | Word | Cls)
            or (getattr(v.target, "function", None) and not isinstance(v.target, Obj | Once))
        ]

    def _library_method(self, lib: Lib, name: str, arguments: list[Values], node: Node, nodes: list[Node]) -> Values:
        if name in ("then", "catch", "finally"):
            return self._settles(lib, name, arguments, node)
        got = self._of_library(lib, name, node)
        own = [v for v in got if isinstance(v.target, Func)]
        if own:
            return self.call_values(frozenset(own), NOTHING, arguments, node, nodes)
        if lib.package == "global" and lib.path in GLOBALS:
            return self.call_library(Lib("global", (name,)), arguments, node, nodes)
        return self.call_library(Lib(lib.package, (*lib.path[-PATH_MAX:], name)), arguments, node, nodes)

    def _settles(self, lib: Lib, name: str, arguments: list[Values], node: Node) -> Values:
        self.record.waits = True
        found: Values = NOTHING
        for index, values in enumerate(arguments):
            given = DATA if index or name == "catch" else one(lib) | DATA
            found |= self.call_back(values, [given], node)
        return found | one(lib) | PROMISED


def _field_around(arrow: Function) -> Node | None:
    """The field of a class that the arrow function stands in, without another function between."""
    at = arrow.node.parent
    outer = arrow.parent.node if arrow.parent is not None else None
    while at is not None and at is not outer:
        if at.type == "field_definition":
            return at
        at = at.parent
    return None
