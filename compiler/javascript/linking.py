"""Modules among each other: what `require` and `import` give, what a module exports. Knows no statements."""

from __future__ import annotations

from compiler.facts import Harm
from compiler.javascript.frameworks import Frameworks
from compiler.javascript.libraries import package_of
from compiler.javascript.modules import Source, required
from compiler.javascript.scopes import Binding, Function
from compiler.javascript.syntax import Node, string_value
from compiler.javascript.values import (
    DATA,
    NOTHING,
    PROMISED,
    Cls,
    Func,
    Lib,
    Obj,
    Value,
    Values,
    one,
)


class Linking(Frameworks):
    """Of a service whose files are read."""

    module_objects: dict[str, Obj]

    def variable(self, binding: Binding, node: Node, *, quiet: bool) -> Values:
        raise NotImplementedError

    def _arguments(self, node: Node) -> tuple[list[Values], list[Node]]:
        raise NotImplementedError

    # Modules

    def module_object(self, file: str) -> Obj:
        there = self.module_objects.get(file)
        if there is None:
            names = self.service.sources[file].names
            assert names is not None
            there = Obj(names.top.node, "module", names.top, label=file)
            exports = Obj(names.top.node, "exports", names.top, label=file)
            there.fields["exports"] = {Value(exports)}
            self.module_objects[file] = there
        return there

    def _require(self, node: Node) -> Values:
        name = required(node)
        self._arguments(node)
        dynamic = node["function"].type == "import"
        if name is None:
            self.danger(
                Harm.DYNAMIC, "loads a module whose name is computed", node, "write the name as a text", start=True
            )
            return one(Lib("a module whose name is computed"))
        values = self.module_values(node.file, name)
        led = self.service.sources[node.file].leads.get(name)
        if led is not None:
            self.loads.setdefault(led, set()).add(self.function)
        if not dynamic:
            return values
        self.record.waits = True
        return values | PROMISED

    def module_values(self, file: str, name: str) -> Values:
        """What `require` gives."""
        source = self.service.sources[file]
        name = source.packages.get(name, name)
        led = source.leads.get(name)
        if led is not None:
            found = self.service.sources[led]
            if found.names is None:
                return one(self._json(found, file)) if found.data is not None or found.file.endswith(".json") else DATA
            if found.esm:
                return one(self._namespace(found))
            exports = self.module_object(led).fields["exports"]
            others = {
                v
                for v in exports
                if not (isinstance(v.target, Obj) and v.target.kind == "exports" and not v.target.fields)
            }
            return frozenset(others or exports)
        if name in ("esm", "@babel/register", "babel-register"):
            return one(Lib("global", ("esm",)))
        if name.startswith("."):
            return one(Lib(name))
        package = package_of(name)
        if package == "process":
            return one(Lib("process"))
        if package == "timers":
            return one(Lib("global", ("timers",) if name.endswith("promises") else ()))
        rest = name.removeprefix("node:").removeprefix(package).strip("/")
        return one(Lib(package, tuple(rest.split("/")) if rest else ()))

    def _json(self, source: Source, file: str) -> Obj:
        top = self.service.sources[self.service.entry].names
        assert top is not None
        there = self.module_objects.get(source.file)
        if there is None:
            there = self.module_objects[source.file] = Obj(top.top.node, "json", top.top, label=source.file)
        return there

    def _namespace(self, source: Source) -> Obj:
        there = self.module_objects.get(f"{source.file} *")
        if there is None:
            assert source.names is not None
            there = Obj(source.names.top.node, "module-data", source.names.top, label=source.file)
            there.maker = source
            self.module_objects[f"{source.file} *"] = there
        return there

    def _imported(self, binding: Binding, node: Node) -> Values:
        statement = binding.node
        while statement.parent is not None and statement.type != "import_statement":
            statement = statement.parent
        name = string_value(statement["source"])
        wanted = self._wanted(binding.node)
        values = self.module_values(statement.file, name)
        if wanted == "*":
            return values
        found: set[Value] = set()
        for value in values:
            if isinstance(value.target, Obj) and value.target.kind == "module-data":
                found |= self.export(value.target.maker, wanted)
            elif wanted == "default" and not isinstance(value.target, Lib):
                found.add(value)
                if isinstance(value.target, Obj) and value.target.kind == "exports":
                    found |= value.target.fields.get("default", set())
            elif wanted == "default":
                found.add(value)
            else:
                found |= self.read([value], wanted, node)
        return frozenset(found)

    def _wanted(self, node: Node) -> str:
        parent = node.parent
        if parent is None or parent.type == "namespace_import":
            return "*"
        if parent.type == "import_specifier":
            return parent["name"].text
        return "default"

    def exported(self, source: Source) -> list[tuple[str, Node]]:
        """(name, the node that says what it is) of an ES module's exports."""
        found: list[tuple[str, Node]] = []
        assert source.root is not None
        for kid in source.root.kids:
            if kid.type != "export_statement":
                continue
            declared = kid.get("declaration")
            if "default" in kid.words:
                value = declared or kid.get("value")
                if value is not None:
                    found.append(("default", value))
            elif declared is not None:
                if declared.type in ("lexical_declaration", "variable_declaration"):
                    for part in declared.kids:
                        if part.type == "variable_declarator":
                            found += [(n.text, n) for n in part["name"].walk() if n.binding is not None]
                else:
                    found.append((declared["name"].text, declared["name"]))
            for part in kid.walk():
                if part.type == "namespace_export":
                    found.append((part.kids[0].text or string_value(part.kids[0]), part))
                if part.type == "export_specifier":
                    alias = part.get("alias") or part["name"]
                    found.append((string_value(alias) if alias.type == "string" else alias.text, part))
        return found

    def export(self, source: Source, name: str, depth: int = 0) -> Values:
        found: set[Value] = set()
        assert source.root is not None
        for exported, node in self.exported(source):
            if exported == name:
                found |= self._export(source, node, depth)
        if not found and depth < 20:
            for kid in source.root.kids:
                if (
                    kid.type == "export_statement"
                    and kid.get("source") is not None
                    and not any(k.type in ("export_clause", "namespace_export") for k in kid.kids)
                ):
                    for value in self.module_values(source.file, string_value(kid["source"])):
                        if isinstance(value.target, Obj) and value.target.kind == "module-data":
                            found |= self.export(value.target.maker, name, depth + 1)
                        else:
                            found |= self.read([value], name, kid)
        return frozenset(found)

    def _export(self, source: Source, node: Node, depth: int) -> Values:
        if node.type == "namespace_export":  # `export * as name from "./other.js"`
            assert node.parent is not None
            return self.module_values(source.file, string_value(node.parent["source"]))
        if node.type == "export_specifier":
            statement = node.parent.parent if node.parent is not None else None
            named = node["name"]
            if statement is not None and statement.get("source") is not None and depth < 20:
                found: set[Value] = set()
                for value in self.module_values(source.file, string_value(statement["source"])):
                    if isinstance(value.target, Obj) and value.target.kind == "module-data":
                        found |= self.export(value.target.maker, named.text, depth + 1)
                    elif named.text == "default":
                        found.add(value)
                    else:
                        found |= self.read([value], named.text, node)
                return frozenset(found)
            return self.variable(named.binding, named, quiet=not named.binding.assigned) if named.binding else NOTHING
        if node.type == "identifier" and node.binding is not None:
            binding: Binding = node.binding
            return self.variable(binding, node, quiet=not binding.assigned)
        if node.info is not None:
            return one(Func(node.info)) if isinstance(node.info, Function) else one(Cls(node.info))
        outer, recording = self.function, self.recording
        assert source.names is not None
        self.function, self.recording = source.names.top, False
        try:
            return self.evaluate(node)
        finally:
            self.function, self.recording = outer, recording
