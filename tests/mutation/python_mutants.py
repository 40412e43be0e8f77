"""Every mutant of the Python protocol: one small change of one function.

The changes are those that mutmut makes of functions, and four more (the last four):

==========================  ====================================================================
a number                    one more
a string                    between two XX; docstrings and messages stay
True, False                 the other
comparison                  < and <=, > and >=, == and !=, is and is not, in and not in
arithmetic                  + and -, * and //, % for //, << and >>, & and |, ^ for &, ** for *
not, minus, ~               dropped
and, or                     the other
an assigned value           None; None becomes an empty string
an augmented assignment     a plain one; the other operator
an argument                 None; left out, unless it is Python's own default
break, continue             return, break
a lambda                    gives None
a case of a match           dropped
a call for its effect       dropped
a raise, an assert          dropped
a returned value            None
a condition                 negated
==========================  ====================================================================

Code outside functions is not changed, nor are annotations and decorators.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "deltaroll" / "protocol"
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
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
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.Pow: ast.Mult,
}
SKIPPED = frozenset(("annotation", "returns", "decorator_list"))
"""Fields whose content does nothing, or has done it before a mutant is planted."""

SHOWN = 80
"""Characters of a statement that a key shows."""
AROUND = 16
"""Characters around a difference."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function."""

    module: str
    function: str
    """Its name; `Class.method` for a method."""
    first: int
    """First line of the statement that changes; of the function, where its defaults change."""
    last: int
    key: str
    """What names it as long as its statement stays as it is."""
    tree: ast.FunctionDef
    parent: ast.AST
    field: str
    place: int | None
    """Where in the field, which is a list; None when it holds just a node."""
    node: ast.AST
    """What comes there."""

    def compile(self) -> ast.Module:
        """Return a module with the mutant and nothing else. The tree stays changed."""
        if self.place is None:
            setattr(self.parent, self.field, self.node)
        else:
            getattr(self.parent, self.field)[self.place] = self.node
        self.tree.decorator_list = []
        body: list[ast.stmt] = [self.tree]
        if "." in self.function:
            # A method that calls super() has a cell for its class.
            body = [ast.ClassDef(self.function.partition(".")[0], [], [], body, [])]
        return ast.fix_missing_locations(ast.Module(body, []))


def none() -> ast.Constant:
    """Return a None."""
    return ast.Constant(None)


def changed(node: ast.AST, **fields: object) -> ast.AST:
    """Return a node with other fields."""
    result = copy.copy(node)
    for name, value in fields.items():
        setattr(result, name, value)
    return result


def without(items: Sequence[object], place: int) -> list[object]:
    """Return all items but one."""
    return [*items[:place], *items[place + 1 :]]


def mutate_call(node: ast.Call) -> Iterator[ast.AST]:
    """Yield what may stand in place of a call."""
    for place, item in enumerate(node.args):
        if isinstance(item, ast.Starred):
            continue
        if not is_none(item):
            args = [*node.args]
            args[place] = none()
            yield changed(node, args=args)
        if not is_default(item):
            yield changed(node, args=without(node.args, place))
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is None:
            continue
        if not is_none(keyword.value):
            keywords = [*node.keywords]
            keywords[place] = ast.keyword(keyword.arg, none())
            yield changed(node, keywords=keywords)
        yield changed(node, keywords=without(node.keywords, place))


def is_default(node: ast.expr) -> bool:
    """Whether an argument says what goes without saying: bytes of integers are big endian."""
    return isinstance(node, ast.Constant) and node.value == "big"


def is_none(node: ast.AST | None) -> bool:
    """Whether a node is a None, or none at all."""
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def mutate_value(value: ast.expr) -> ast.expr:
    """Return what is assigned in place of a value."""
    return ast.Constant("") if is_none(value) else none()


def mutate(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value):
            yield ast.Constant(f"XX{value}XX")
        case ast.Constant(value=bytes() as value):
            yield ast.Constant(b"XX" + value + b"XX")
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                operators = [*node.ops]
                operators[place] = COMPARED[type(operator)]()
                yield changed(node, ops=operators)
        case ast.BinOp():
            if (other := COMPUTED.get(type(node.op))) is not None:
                yield changed(node, op=other())
        case ast.UnaryOp():
            yield node.operand
        case ast.BoolOp():
            yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.Assign():
            yield changed(node, value=mutate_value(node.value))
        case ast.AnnAssign(value=ast.expr() as value):
            yield changed(node, value=mutate_value(value))
        case ast.AugAssign():
            yield ast.copy_location(ast.Assign([node.target], node.value), node)
            if (other := COMPUTED.get(type(node.op))) is not None:
                yield changed(node, op=other())
        case ast.Call():
            yield from mutate_call(node)
        case ast.Break():
            yield ast.Return()
        case ast.Continue():
            yield ast.Break()
        case ast.Lambda():
            yield changed(node, body=none())
        case ast.Match():
            for place in range(len(node.cases)):
                if len(node.cases) > 1:
                    yield changed(node, cases=without(node.cases, place))
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Assert():
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not is_none(value):
            yield ast.Return(none())


def iterate_children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """Yield the nodes below a node that may change, and where they are."""
    for field, value in ast.iter_fields(node):
        if field in SKIPPED:
            continue
        if isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.AST) and not is_text(item):
                    yield field, place, item
        elif isinstance(value, ast.AST) and not is_text(value):
            yield field, None, value


def is_text(node: ast.AST) -> bool:
    """Whether a node is a docstring, or a message with values in it."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.JoinedStr)


def describe(node: ast.AST) -> str:
    """Return a node's first line; of a match, its cases."""
    if isinstance(node, ast.Match):
        return "match " + ", ".join(ast.unparse(case.pattern) for case in node.cases)
    return ast.unparse(node).partition("\n")[0]


def compare(old: str, new: str) -> str:
    """Return both texts, of long ones the part that differs and what is around it."""
    if max(len(old), len(new)) <= SHOWN:
        return f"{old} -> {new}"
    shorter = min(len(old), len(new))
    start = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    left = shorter - start
    end = next((at for at in range(left) if old[-1 - at] != new[-1 - at]), left)
    start, end = max(0, start - AROUND), max(0, end - AROUND)
    return f"{old[start : len(old) - end][:SHOWN]} -> {new[start : len(new) - end][:SHOWN]}"


def iterate_mutants(module: str, name: str, tree: ast.FunctionDef) -> Iterator[Mutant]:
    """Yield the mutants of one function."""
    seen: Counter[str] = Counter()

    def visit(parent: ast.AST, statement: ast.stmt) -> Iterator[Mutant]:
        for field, place, node in iterate_children(parent):
            inside = node if isinstance(node, ast.stmt) else statement
            found = list(mutate(node))
            if field == "test" and isinstance(node, ast.expr):
                found.append(ast.UnaryOp(ast.Not(), node))
            if isinstance(parent, ast.comprehension) and field == "ifs":
                assert isinstance(node, ast.expr)
                found.append(ast.UnaryOp(ast.Not(), node))
            for other in found:
                context = "" if inside is node else f"{describe(inside)[:SHOWN]} | "
                key = f"{module}.{name}: {context}{compare(describe(node), describe(other))}"
                seen[key] += 1
                if seen[key] > 1:
                    key += f" #{seen[key]}"
                last = inside.end_lineno or inside.lineno
                if isinstance(inside, (ast.If, ast.While, ast.For, ast.With, ast.Match)):
                    # Its header only: what is below has lines of its own.
                    last = getattr(node, "end_lineno", None) or inside.lineno
                first = min(inside.lineno, last)
                yield Mutant(module, name, first, last, key, tree, parent, field, place, other)
            yield from visit(node, inside)

    yield from visit(tree, tree)


def iterate_functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield every top-level function and every method."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


@cache
def generate() -> list[Mutant]:
    """Return every mutant of the protocol, always in the same order."""
    return [
        mutant
        for path in sorted(PACKAGE.glob("*.py"))
        for name, tree in iterate_functions(ast.parse(path.read_text(encoding="utf-8")))
        for mutant in iterate_mutants(path.stem, name, tree)
    ]
