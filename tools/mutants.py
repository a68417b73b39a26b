"""Mutants: one small break of a module's source each, as a slip of the hand would make it."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

_OPERATORS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}

_NAMES: Mapping[str, str] = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A module with one break in it.

    Attributes:
        path: of the module, below the checkout.
        tree: the whole module.
        node: the part that is broken.
        broken: what stands in its place.
    """

    path: str
    tree: ast.Module
    node: ast.AST
    broken: ast.AST

    @property
    def line(self) -> int:
        """Where the break is."""
        return int(getattr(self.node, "lineno", 0))

    @property
    def was(self) -> str:
        """The code that was there, on one line."""
        return _line(self.node)

    @property
    def now(self) -> str:
        """The code that is there instead, on one line."""
        return _line(self.broken)

    def source(self) -> str:
        """The whole module with the break in it."""
        tree = _Exchange(self.node, self.broken).visit(self.tree)
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines.

    Args:
        root: the checkout.
        path: of the module, below it.
    """
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    found = [Mutant(path, tree, node, new) for node in _run_nodes(tree) for new in _breaks(node)]
    return sorted(found, key=lambda mutant: mutant.line)


def _breaks(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(left, [operator], others) if type(operator) in _COMPARISONS:
            yield ast.Compare(left, [_COMPARISONS[type(operator)]()], others)
        case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
            yield ast.BinOp(left, _OPERATORS[type(operator)](), right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, other):
            yield ast.IfExp(test, other, body)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Call(ast.Name(name), arguments, keywords) if name in _NAMES:
            yield ast.Call(ast.Name(_NAMES[name]), arguments, keywords)
        case ast.Call(ast.Name("sorted"), arguments, keywords) if "reverse" not in {
            keyword.arg for keyword in keywords
        }:
            reverse = ast.keyword("reverse", ast.Constant(value=True))
            yield ast.Call(ast.Name("sorted"), arguments, [*keywords, reverse])
        case ast.stmt():
            yield from _broken_statements(node)


def _broken_statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    match statement:
        case ast.If(ast.Name() | ast.Attribute() | ast.Call() as test, body, others):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, others)
        case ast.AugAssign(target, operator, value) if type(operator) in _OPERATORS:
            yield ast.AugAssign(target, _OPERATORS[type(operator)](), value)
        case ast.Return(value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call()):
            yield ast.Pass()


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: no annotations, and nothing that only type checkers read."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_for_type_checkers(child):
                yield from _run_nodes(child)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _line(node: ast.AST) -> str:
    """A node's source; of a statement with a body, its first line."""
    first, *more = ast.unparse(ast.fix_missing_locations(node)).splitlines()
    return first if isinstance(node, ast.If) else " ".join([first, *map(str.strip, more)])


class _Exchange:
    """Puts one node in another's place, in a copy: the tree that is visited stays as it is."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The new node for the old one, a copy of every other."""
        if node is self.old:
            return self.new
        copied = copy.copy(node)
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(copied, name, [self._child(child) for child in value])
            else:
                setattr(copied, name, self._child(value))
        return copied

    def _child(self, child: Any) -> Any:
        return self.visit(child) if isinstance(child, ast.AST) else child
