"""Checks what source files use of TensorRT's Python API against the bindings that are installed in a folder.

    python api_usage.py FOLDER FILE...      prints {"version", "checked", "problems"} as JSON

Follows the types of expressions: names by their annotations, calls by the signatures in the bindings' docstrings. An
attribute of something whose type can't be told is a problem too, so nothing of TensorRT is used unchecked.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> (.*)$")


@dataclass(frozen=True)
class Real:
    """Something of the bindings that is there: the module, a class, an enum's member."""

    value: Any


@dataclass(frozen=True)
class Instance:
    """An object of a class of the bindings."""

    cls: type


@dataclass(frozen=True)
class Items:
    """A list of such objects."""

    cls: type


@dataclass(frozen=True)
class Method:
    cls: type
    name: str


OURS, OPAQUE = "ours", "opaque"  # nothing of TensorRT's; or something of TensorRT's whose type nobody says
Kind = Real | Instance | Items | Method | str


@dataclass(frozen=True)
class Overload:
    """A signature without `self`: (name, whether it may be left out) of each parameter."""

    parameters: tuple[tuple[str, bool], ...]
    returns: str

    def accepts(self, positional: int, keywords: set[str]) -> bool:
        names = [name for name, _ in self.parameters]
        given = {*names[:positional], *keywords}
        required = {name for name, is_optional in self.parameters if not is_optional}
        fits = positional <= len(names) and not keywords & {*names[:positional]}
        return fits and required <= given <= {*names}


def overloads(function: Any) -> list[Overload]:
    """What pybind11 writes into docstrings."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        if match := SIGNATURE.match(line.strip()):
            parameters = [part for part in split_commas(match[2]) if part]
            if any(part.startswith("*") for part in parameters):  # the summary above several overloads
                continue
            named = [(part.split(":")[0].strip(), "=" in part) for part in parameters]
            found.append(Overload(tuple(one for one in named if one[0] != "self"), match[3].strip()))
    return found


def split_commas(text: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[<(") - (character in "]>)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


@dataclass
class Ours:
    """A class of ours: what it says of its attributes, and the class of the bindings that it extends."""

    attributes: dict[str, Kind] = field(default_factory=dict)
    base: type | None = None


@dataclass
class Checker:
    trt: Any
    problems: list[str] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    functions: dict[str, Kind] = field(default_factory=dict)  # ours: what they give
    classes: dict[str, Ours] = field(default_factory=dict)
    file: str = ""

    def check(self, files: list[Path]) -> None:
        trees = {file.name: ast.parse(file.read_text()) for file in files}
        for tree in trees.values():
            self._declare(tree)
        for self.file, tree in trees.items():
            for node in tree.body:
                if isinstance(node, ast.FunctionDef):
                    self._function(node, None)
                elif isinstance(node, ast.ClassDef):
                    for method in (one for one in node.body if isinstance(one, ast.FunctionDef)):
                        self._function(method, self.classes[node.name])
                else:
                    Body(self, {}).visit(node)

    def problem(self, node: ast.AST, message: str) -> None:
        self.problems.append(f"{self.file}:{getattr(node, 'lineno', 0)}: {message}")

    def _declare(self, tree: ast.Module) -> None:
        """Return types of functions; attributes and bases of classes."""
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = self.annotated(node.returns)
            elif isinstance(node, ast.ClassDef):
                own = self.classes[node.name] = Ours()
                for base in node.bases:
                    kind = self.annotated(base)
                    own.base = kind.cls if isinstance(kind, Instance) else own.base
                for method in (one for one in node.body if isinstance(one, ast.FunctionDef)):
                    own.attributes[method.name] = OURS
                    for inner in ast.walk(method):
                        if isinstance(inner, ast.AnnAssign | ast.Assign):
                            self._declare_attribute(own, inner)
                self._check_overrides(node, own)

    def _declare_attribute(self, own: Ours, node: ast.AnnAssign | ast.Assign) -> None:
        for target in [node.target] if isinstance(node, ast.AnnAssign) else node.targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                kind = self.annotated(node.annotation) if isinstance(node, ast.AnnAssign) else OURS
                if own.attributes.get(target.attr, OURS) == OURS:
                    own.attributes[target.attr] = kind

    def _check_overrides(self, node: ast.ClassDef, own: Ours) -> None:
        """All that the bindings would call is there, with as many parameters."""
        if own.base is None:
            return
        methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
        for name, value in vars(own.base).items():
            if name.startswith("_") or not callable(value) or inspect.isclass(value):
                continue
            if name not in methods:
                self.problem(node, f"{node.name} lacks {name} of {own.base.__name__}")
            elif not any(one.accepts(len(methods[name].args.args) - 1, set()) for one in overloads(value)):
                self.problem(node, f"{node.name}.{name} takes other parameters than {own.base.__name__}'s")
            self.checked.add(f"{own.base.__name__}.{name}")

    def annotated(self, node: ast.AST | None) -> Kind:
        """What an annotation promises."""
        if isinstance(node, ast.BinOp):  # X | None
            sides = [self.annotated(node.left), self.annotated(node.right)]
            return next((side for side in sides if side != OURS), OURS)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "list":
            item = self.annotated(node.slice)
            return Items(item.cls) if isinstance(item, Instance) else OURS
        if isinstance(node, ast.Attribute):
            outer = Real(self.trt) if isinstance(node.value, ast.Name) and node.value.id == "trt" else None
            if isinstance(node.value, ast.Attribute):
                inner = self.annotated(node.value)
                outer = Real(inner.cls) if isinstance(inner, Instance) else None
            if outer:
                value = getattr(outer.value, node.attr, None)
                if not inspect.isclass(value):
                    self.problem(node, f"trt has no class {node.attr}")
                    return OPAQUE
                return Instance(value)
        return OURS

    def _function(self, node: ast.FunctionDef, own: Ours | None) -> None:
        names = {argument.arg: self.annotated(argument.annotation) for argument in node.args.args}
        body = Body(self, names, own)
        for statement in node.body:
            body.visit(statement)


class Body(ast.NodeVisitor):
    """The statements of one function, in order."""

    def __init__(self, checker: Checker, names: dict[str, Kind], own: Ours | None = None) -> None:
        self.checker, self.names, self.own = checker, names, own

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        found = self.kind(node.value) if node.value else OURS
        promised = self.checker.annotated(node.annotation)
        if isinstance(found, Instance) and isinstance(promised, Instance) and found != promised:
            self.checker.problem(node, f"annotated as {promised.cls.__name__}, given {found.cls.__name__}")
        self._assign(node.target, promised if promised != OURS or found in (OPAQUE, OURS) else found)

    def visit_Assign(self, node: ast.Assign) -> None:
        found = self.kind(node.value)
        for target in node.targets:
            self._assign(target, found)

    def visit_For(self, node: ast.For) -> None:
        self._assign(node.target, self._item(node.iter))
        for statement in (*node.body, *node.orelse):
            self.visit(statement)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assign(node.target, self._item(node.iter))
        for condition in node.ifs:
            self.visit(condition)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            for generator in node.generators:
                self.visit(generator)
        if isinstance(node, ast.expr):
            self.kind(node)
        else:
            super().generic_visit(node)

    def kind(self, node: ast.expr) -> Kind:
        """The type of an expression; all within it is checked."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            for generator in node.generators:
                self.visit(generator)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.kind(child)
        return OURS

    def _name(self, name: str) -> Kind:
        if name == "trt":
            return Real(self.checker.trt)
        return self.names.get(name, OURS)

    def _attribute(self, node: ast.Attribute) -> Kind:
        if isinstance(node.value, ast.Name) and node.value.id == "self" and self.own:
            if node.attr in self.own.attributes:
                return self.own.attributes[node.attr]
            base = Instance(self.own.base) if self.own.base else OURS
        else:
            base = self.kind(node.value)
        if isinstance(base, Real | Instance):
            return self._member(node, base)
        if base == OPAQUE or isinstance(base, Items | Method):
            self.checker.problem(node, f"nobody says what has the attribute {node.attr}")
        return OURS

    def _member(self, node: ast.Attribute, base: Real | Instance) -> Kind:
        owner = base.value if isinstance(base, Real) else base.cls
        shown = f"{getattr(owner, '__name__', type(owner).__name__)}.{node.attr}"
        self.checker.checked.add(shown)
        if not hasattr(owner, node.attr):
            self.checker.problem(node, f"there is no {shown}")
            return OPAQUE
        value = inspect.getattr_static(owner, node.attr) if isinstance(base, Instance) else getattr(owner, node.attr)
        if isinstance(base, Real):
            return Real(value)
        if isinstance(value, property):
            if isinstance(node.ctx, ast.Store) and value.fset is None:
                self.checker.problem(node, f"{shown} can't be set")
            return OPAQUE
        return Method(base.cls, node.attr) if callable(value) else Real(value)

    def _call(self, node: ast.Call) -> Kind:
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.kind(argument)
        function = self.kind(node.func)
        if function == OURS:
            return self.checker.functions.get(node.func.id, OURS) if isinstance(node.func, ast.Name) else OURS
        if isinstance(function, Real) and inspect.isclass(function.value):
            self._check_arguments(node, function.value.__init__)
            return Instance(function.value)
        if isinstance(function, Real):
            is_init = isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"
            return self._check_arguments(node, function.value, skipped=int(is_init))  # of a base class: self is given
        if isinstance(function, Method):
            return self._check_arguments(node, getattr(function.cls, function.name))
        return OURS

    def _check_arguments(self, node: ast.Call, function: Any, skipped: int = 0) -> Kind:
        known = overloads(function)
        if not known:  # a function of Python's own: what it gives is anybody's guess
            return OPAQUE
        keywords = {str(keyword.arg) for keyword in node.keywords}
        fitting = [one for one in known if one.accepts(len(node.args) - skipped, keywords)]
        if not fitting:
            self.checker.problem(node, f"{ast.unparse(node)} fits none of {[one.parameters for one in known]}")
            return OPAQUE
        returned = fitting[0].returns.rpartition(".")[2]
        cls = getattr(self.checker.trt, returned, None)
        if inspect.isclass(cls):
            return Instance(cls)
        return OURS if fitting[0].returns in ("None", "bool", "int", "str") else OPAQUE

    def _assign(self, target: ast.expr, kind: Kind) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = kind
        elif isinstance(target, ast.Tuple):
            for part in target.elts:
                self._assign(part, kind)
        elif isinstance(target, ast.Attribute):
            self._attribute(target)

    def _item(self, iterable: ast.expr) -> Kind:
        found = self.kind(iterable)
        if isinstance(found, Items):
            return Instance(found.cls)
        if isinstance(iterable, ast.Subscript):
            inner = self.kind(iterable.value)
            return Instance(inner.cls) if isinstance(inner, Items) else OURS
        return OURS if found == OURS else OPAQUE


def main(folder: str, *files: str) -> None:
    sys.path.insert(0, folder)
    import tensorrt_bindings

    checker = Checker(tensorrt_bindings)
    checker.check([Path(file) for file in files])
    found = {"version": tensorrt_bindings.__version__, "checked": sorted(checker.checked), "problems": checker.problems}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
