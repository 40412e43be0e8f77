"""Every mutant of the Solidity protocol, as many as one likes of them in one program.

Compiling a mutant takes half a minute, running it a millisecond. So the sources are rewritten once:
wherever something may change, the changed code stands beside the original, and the gas price of the
call says which mutant is on (0: none). `a < b` becomes `_m_lt_uint256(a, b, 17)`, which is `a <= b`
at a gas price of 17. Nothing in the protocol reads the gas price, and every contract sees it.

At a gas price of COVER each of these places looks at an address made of its number, so
that what a call has touched tells which mutants it can meet.

=================  =============================================================================
comparison         `<` and `<=`, `>` and `>=`, `==` and `!=`
arithmetic         `+` and `-`, `*` and `/`, `%` for `/`, `<<` and `>>`, `&` and `|`, `^` for `&`
`&&`, `||`         without its left side; without its right side
`!`, `-`, `~`      dropped
condition          true; false
number             one more: of a constant that is named, of a literal in arithmetic or an index
true, false        the other
`+=` and such      its other operator
statement          dropped: calls, assignments, reverts, returns, breaks, continues
=================  =============================================================================

In assembly the same: operators are built-in functions there, and every literal is changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]
COVER = (1 << 64) - 1
"""Gas price at which a call leaves traces."""
MARK = 1 << 144
"""First of the addresses that are traces."""
SWAPPED = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "%": "/",
    "<<": ">>",
    ">>": "<<",
    "&": "|",
    "|": "&",
    "^": "&",
}
NAMES = {
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
    "==": "eq",
    "!=": "ne",
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "%": "mod",
    "<<": "shl",
    ">>": "shr",
    "&": "and",
    "|": "or",
    "^": "xor",
}
COMPARISONS = frozenset(("<", "<=", ">", ">=", "==", "!="))
YUL = {
    "add": "sub(a, b)",
    "sub": "add(a, b)",
    "mul": "div(a, b)",
    "div": "mul(a, b)",
    "sdiv": "mul(a, b)",
    "mod": "div(a, b)",
    "smod": "sdiv(a, b)",
    "lt": "iszero(gt(a, b))",
    "gt": "iszero(lt(a, b))",
    "slt": "iszero(sgt(a, b))",
    "sgt": "iszero(slt(a, b))",
    "eq": "iszero(eq(a, b))",
    "shl": "shr(a, b)",
    "shr": "shl(a, b)",
    "sar": "shl(a, b)",
    "and": "or(a, b)",
    "or": "and(a, b)",
    "xor": "and(a, b)",
    "iszero": "a",
    "not": "a",
}
"""A built-in function, and what is put in its place."""
UNARY_YUL = frozenset(("iszero", "not"))
NUMBER = re.compile(r"u?int\d+")
SIMPLE = re.compile(r"u?int\d+|bytes\d+|address|bool")
IMAGE = "contracts/protocol/MemoryImage.sol"
MOVED = {"START = 0x1000;": "START = 0x10000;", "HEAD = 0xfe0;": "HEAD = 0xffe0;"}
"""Without an optimiser the compiler reserves more memory below the image."""
HELPERS = "contracts/protocol/_Mutants.sol"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change that a gas price switches on."""

    number: int
    """That gas price."""
    source: str
    """File's name without folder and ending."""
    key: str
    """What names it as long as its statement stays as it is."""


@dataclass(slots=True)
class Edit:
    """Text that comes in before a place, instead of what is between it and another."""

    start: int
    end: int
    rank: int
    """Order among the edits of one place."""
    text: str


@dataclass(slots=True)
class Catalogue:
    """Numbers for mutants, over all files; and the helpers that they need."""

    mutants: list[Mutant] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    wanted: Collection[str] | None = None
    """Names of the mutants that the program gets; all when there are none. All have numbers."""

    def add(self, source: str, function: str, context: str, change: str) -> int:
        """Return the number of a new mutant."""
        key = f"{source}.{function}: {context} | {change}"
        self.seen[key] += 1
        if self.seen[key] > 1:
            key += f" #{self.seen[key]}"
        number = len(self.mutants) + 1
        self.mutants.append(Mutant(number, source, key))
        return number

    def wants(self, number: int) -> bool:
        """Return whether the program gets a mutant."""
        return self.wanted is None or self.mutants[number - 1].key in self.wanted


class Rewriter:
    """Rewrites one file."""

    def __init__(
        self,
        source: str,
        content: str,
        tree: Node,
        catalogue: Catalogue,
        constants: frozenset[int],
    ) -> None:
        self._name = source.rpartition("/")[2].removesuffix(".sol")
        self._bytes = content.encode()
        self._tree = tree
        self._catalogue = catalogue
        self._edits: list[Edit] = []
        self._function = ""
        self._statement: Node = tree
        self._depth = 0
        self._is_unchecked = False
        # Levels count by two: what goes around an operand comes between it and its parent.
        self._yul: dict[str, str] = {}
        self._constants = constants
        """Declarations of constants, by the compiler's number."""
        self._named: frozenset[int] = frozenset()
        """Where an assembly block names constants."""
        self._headers = {
            self._span(node["loopExpression"])
            for node in iterate(tree)
            if node["nodeType"] == "ForStatement" and node.get("loopExpression")
        }
        """Loop expressions of for statements: no place for an if."""

    def rewrite(self) -> str:
        """Return the file with all its mutants."""
        self._visit(self._tree)
        return self._apply()

    # Text

    def _span(self, node: Node) -> tuple[int, int]:
        start, length, _ = map(int, node["src"].split(":"))
        return start, start + length

    def _text(self, node: Node) -> str:
        start, end = self._span(node)
        return self._bytes[start:end].decode()

    def _line(self, node: Node) -> str:
        """Return a node's text on one line, cut where it gets long."""
        return " ".join(self._text(node).split())[:70]

    def _wrap(self, node: Node, before: str, after: str) -> None:
        start, end = self._span(node)
        # An outer text stands outside of an inner one.
        self._edits.append(Edit(start, start, self._depth, before))
        self._edits.append(Edit(end, end, -self._depth - 1, after))

    def _join(self, left: Node, right: Node) -> None:
        """Put a comma in place of an operator."""
        self._edits.append(Edit(self._span(left)[1], self._span(right)[0], 0, ", "))

    def _apply(self) -> str:
        # Where one node ends and the next begins: first what closes, then what comes between.
        def order(edit: Edit) -> tuple[int, int, int]:
            group = 0 if edit.rank < 0 else 1 if edit.end > edit.start else 2
            return edit.start, group, edit.rank

        parts = []
        at = 0
        for edit in sorted(self._edits, key=order):
            parts.append(self._bytes[at : edit.start].decode() if edit.start > at else "")
            parts.append(edit.text)
            at = max(at, edit.end)
        parts.append(self._bytes[at:].decode())
        return "".join(parts)

    def _new(self, change: str) -> int:
        context = self._line(self._statement)
        return self._catalogue.add(self._name, self._function, context, change)

    def _wants(self, *numbers: int) -> bool:
        return any(map(self._catalogue.wants, numbers))

    def _helper(self, name: str, code: str) -> str:
        self._catalogue.helpers[name] = code
        return name

    # Solidity

    def _visit(self, node: Node) -> None:
        kind = node["nodeType"]
        if kind == "VariableDeclaration" and (node.get("constant") or node.get("stateVariable")):
            return
        if kind in ("EnumDefinition", "StructDefinition", "ErrorDefinition", "ImportDirective"):
            return
        if kind in ("ElementaryTypeName", "UserDefinedTypeName", "ArrayTypeName", "ParameterList"):
            return
        if kind == "InlineAssembly":
            self._assembly(node)
            return
        saved = self._function, self._statement, self._is_unchecked
        if kind == "FunctionDefinition":
            self._function = node["name"] or node["kind"]
        if kind == "UncheckedBlock":
            self._is_unchecked = True
        if kind.endswith("Statement") or kind in ("Return", "Break", "Continue"):
            self._statement = node
        self._depth += 2
        getattr(self, f"_mutate_{kind}", lambda node: None)(node)
        for child in children(node):
            self._visit(child)
        self._depth -= 2
        self._function, self._statement, self._is_unchecked = saved

    def _mutate_BinaryOperation(self, node: Node) -> None:  # noqa: N802 - a node's name
        operator = node["operator"]
        left, right = node["leftExpression"], node["rightExpression"]
        if operator in ("&&", "||"):
            self._drop_sides(node, operator, left, right)
            return
        kind = node["commonType"]["typeString"]
        is_enum = kind.startswith("enum ")
        if is_enum:
            kind = "uint8"
        if operator not in SWAPPED or not SIMPLE.fullmatch(kind):
            return
        number = self._new(f"{operator} -> {SWAPPED[operator]} in {self._line(node)}")
        second = "uint256" if operator in ("<<", ">>") else kind
        is_wanted = self._wants(number)
        if is_wanted:
            self._wrap(node, self._binary(operator, kind, second) + "(", f", {number})")
            self._join(left, right)
        for side in (left, right):
            if is_enum:
                if not is_wanted:
                    continue
                self._depth += 1
                self._wrap(side, "uint8(", ")")
                self._depth -= 1
            elif side["nodeType"] == "Literal" and NUMBER.fullmatch(kind):
                self._number(side, second if side is right else kind)

    def _binary(self, operator: str, kind: str, second: str) -> str:
        is_unchecked = self._is_unchecked and operator not in COMPARISONS
        name = f"_m_{NAMES[operator]}_{kind}" + ("_unchecked" if is_unchecked else "")
        result = "bool" if operator in COMPARISONS else kind
        body = (
            f"return _m(k) == 0 ? a {SWAPPED[operator]} b : a {operator} b;"
            if operator not in ("/", "%")
            # The other operation may revert where this one does not; so it may.
            else f"if (_m(k) == 0) return a {SWAPPED[operator]} b;\n    return a {operator} b;"
        )
        if is_unchecked:
            body = f"unchecked {{ {body} }}"
        code = f"({kind} a, {second} b, uint256 k) view returns ({result}) {{\n    {body}\n}}"
        return self._helper(name, f"function {name}{code}")

    def _number(self, node: Node, kind: str) -> None:
        """Let a number be one more."""
        number = self._new(f"{self._text(node)} + 1")
        if not self._wants(number):
            return
        name = f"_m_number_{kind}"
        code = f"function {name}({kind} a, uint256 k) view returns ({kind}) "
        code += "{\n    return _m(k) == 0 ? a + 1 : a;\n}"
        self._depth += 1
        self._wrap(node, self._helper(name, code) + "(", f", {number})")
        self._depth -= 1

    def _drop_sides(self, node: Node, operator: str, left: Node, right: Node) -> None:
        for side, what in ((left, "left"), (right, "right")):
            number = self._new(f"{operator} without its {what} side in {self._line(node)}")
            if not self._wants(number):
                continue
            test = f"(_m({number}) == 0 ||" if operator == "&&" else f"(_m({number}) != 0 &&"
            self._depth += 1
            self._wrap(side, f"{test} (", "))")
            self._depth -= 1

    def _mutate_UnaryOperation(self, node: Node) -> None:  # noqa: N802
        operator = node["operator"]
        kind = node["typeDescriptions"]["typeString"]
        names = {"!": "not", "-": "neg", "~": "inv"}
        if operator not in names or not SIMPLE.fullmatch(kind):
            return
        number = self._new(f"{operator} dropped in {self._line(node)}")
        if not self._wants(number):
            return
        is_unchecked = self._is_unchecked and operator == "-"
        name = f"_m_{names[operator]}_{kind}" + ("_unchecked" if is_unchecked else "")
        body = f"return _m(k) == 0 ? a : {operator}a;"
        if is_unchecked:
            body = f"unchecked {{ {body} }}"
        code = f"({kind} a, uint256 k) view returns ({kind}) {{\n    {body}\n}}"
        self._wrap(node, self._helper(name, f"function {name}{code}") + "(", f", {number})")
        start = self._span(node)[0]
        self._edits.append(Edit(start, start + 1, 0, ""))

    def _condition(self, node: Node) -> None:
        line = self._line(node)
        number = self._new(f"condition true: {line}")
        if not self._wants(number, self._new(f"condition false: {line}")):
            return
        self._depth += 1
        self._wrap(node, "_m_condition(", f", {number})")
        self._depth -= 1

    def _mutate_IfStatement(self, node: Node) -> None:  # noqa: N802
        self._condition(node["condition"])

    def _mutate_WhileStatement(self, node: Node) -> None:  # noqa: N802
        self._condition(node["condition"])

    def _mutate_ForStatement(self, node: Node) -> None:  # noqa: N802
        if node.get("condition"):
            self._condition(node["condition"])

    def _mutate_Conditional(self, node: Node) -> None:  # noqa: N802
        self._condition(node["condition"])

    def _mutate_IndexAccess(self, node: Node) -> None:  # noqa: N802
        index = node.get("indexExpression")
        if index and index["nodeType"] == "Literal":
            self._number(index, "uint256")

    def _mutate_Identifier(self, node: Node) -> None:  # noqa: N802
        kind = node["typeDescriptions"].get("typeString", "")
        declared = node.get("referencedDeclaration")
        if declared in self._constants and NUMBER.fullmatch(kind):
            self._number(node, kind)

    def _mutate_Literal(self, node: Node) -> None:  # noqa: N802
        if node["kind"] == "bool":
            number = self._new(f"not {node['value']}")
            if not self._wants(number):
                return
            self._wrap(node, "_m_not_bool(!", f", {number})")
            self._helper(
                "_m_not_bool",
                "function _m_not_bool(bool a, uint256 k) view returns (bool) {\n"
                "    return _m(k) == 0 ? a : !a;\n}",
            )

    def _drop(self, node: Node, before: str = "") -> None:
        number = self._new("dropped")
        if not before and not self._wants(number):
            return
        end = self._span(node)[1]
        self._wrap(node, f"{{ {before}if (_m({number}) != 0) ", "")
        # A statement's place may end before its semicolon.
        while self._bytes[end - 1 : end] not in (b";", b"}"):
            end += 1
        self._edits.append(Edit(end, end, -self._depth - 1, " }"))

    def _mutate_ExpressionStatement(self, node: Node) -> None:  # noqa: N802
        expression = node["expression"]
        kind = expression["typeDescriptions"].get("typeString", "")
        if "calldata" in kind or self._span(node) in self._headers:
            return
        before = ""
        operator = expression.get("operator", "").removesuffix("=")
        if expression["nodeType"] == "Assignment" and operator in SWAPPED:
            other = SWAPPED[operator]
            number = self._new(f"{operator}= -> {other}=")
            left = self._text(expression["leftHandSide"])
            right = self._text(expression["rightHandSide"])
            if self._wants(number):
                before = f"if (_m({number}) == 0) {left} {other}= {right}; else "
        self._drop(node, before)

    def _mutate_RevertStatement(self, node: Node) -> None:  # noqa: N802
        self._drop(node)

    def _mutate_Return(self, node: Node) -> None:  # noqa: N802
        if node.get("expression"):
            kind = node["expression"]["typeDescriptions"].get("typeString", "")
            if "calldata" in kind:
                return
        self._drop(node)

    def _mutate_Break(self, node: Node) -> None:  # noqa: N802
        self._drop(node)

    def _mutate_Continue(self, node: Node) -> None:  # noqa: N802
        self._drop(node)

    # Assembly

    def _assembly(self, node: Node) -> None:
        self._yul = {}
        self._named = frozenset(
            int(reference["src"].split(":")[0])
            for reference in node["externalReferences"]
            if reference["declaration"] in self._constants
        )
        self._depth += 2
        self._visit_yul(node["AST"])
        self._depth -= 2
        if self._yul:
            start = self._span(node["AST"])[0] + 1
            code = " ".join((YUL_SWITCH, *self._yul.values()))
            self._edits.append(Edit(start, start, self._depth, f" {code}"))

    def _visit_yul(self, node: Node) -> None:
        kind = node["nodeType"]
        saved = self._statement
        is_statement = kind in ("YulExpressionStatement", "YulAssignment", "YulVariableDeclaration")
        if is_statement or kind in ("YulIf", "YulForLoop", "YulSwitch", "YulLeave", "YulBreak"):
            self._statement = node
        self._depth += 2
        if kind == "YulFunctionCall":
            self._yul_call(node)
        elif kind == "YulLiteral":
            if node["kind"] == "number":
                self._yul_number(node)
        elif kind == "YulIdentifier":
            if self._span(node)[0] in self._named:
                self._yul_number(node)
        elif kind in ("YulIf", "YulForLoop"):
            self._yul_condition(node["condition"])
        elif kind in ("YulExpressionStatement", "YulAssignment", "YulLeave", "YulBreak"):
            number = self._new("dropped")
            if self._wants(number):
                self._yul.setdefault("_", "")
                self._wrap(node, f"if _m_g({number}) {{ ", " }")
        for child in children(node):
            # A case's label stays.
            if kind == "YulCase" and child is node["value"]:
                continue
            # So does what is assigned to, and a function's name.
            if kind == "YulFunctionCall" and child is node["functionName"]:
                continue
            if kind == "YulAssignment" and child is not node["value"]:
                continue
            self._visit_yul(child)
        self._depth -= 2
        self._statement = saved

    def _yul_call(self, node: Node) -> None:
        name = node["functionName"]["name"]
        if name not in YUL:
            return
        number = self._new(f"{name} -> {YUL[name]} in {self._line(node)}")
        if not self._wants(number):
            return
        parameters = "a" if name in UNARY_YUL else "a, b"
        self._yul[name] = (
            f"function _m_{name}({parameters}, k) -> r {{ r := {name}({parameters}) "
            f"if iszero(_m_g(k)) {{ r := {YUL[name]} }} }}"
        )
        start, end = self._span(node)
        self._edits.append(Edit(start, start, self._depth, "_m_"))
        self._edits.append(Edit(end - 1, end - 1, -1, f", {number}"))

    def _yul_number(self, node: Node) -> None:
        number = self._new(f"{self._text(node)} + 1")
        if not self._wants(number):
            return
        self._yul["number"] = "function _m_number(a, k) -> r { r := add(a, iszero(_m_g(k))) }"
        self._wrap(node, "_m_number(", f", {number})")

    def _yul_condition(self, node: Node) -> None:
        line = self._line(node)
        number = self._new(f"condition true: {line}")
        if not self._wants(number, self._new(f"condition false: {line}")):
            return
        self._yul["condition"] = (
            "function _m_condition_(a, k) -> r { r := a if iszero(_m_g(k)) { r := 1 } "
            "if iszero(_m_g(add(k, 1))) { r := 0 } }"
        )
        self._wrap(node, "_m_condition_(", f", {number})")


YUL_SWITCH = (
    "function _m_g(k) -> g { g := sub(gasprice(), k) "
    f"if eq(gasprice(), {COVER}) {{ extcodecopy(add({MARK}, k), 0, 0, 0) }} }}"
)
SWITCH = f"""// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

function _m(uint256 k) view returns (uint256 g) {{
    assembly ("memory-safe") {{
        g := sub(gasprice(), k)
        if eq(gasprice(), {COVER}) {{ extcodecopy(add({MARK}, k), 0, 0, 0) }}
    }}
}}

function _m_condition(bool a, uint256 k) view returns (bool) {{
    if (_m(k) == 0) return true;
    if (_m(k + 1) == 0) return false;
    return a;
}}
"""


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes right below a node."""
    for name, value in node.items():
        if name == "externalReferences":
            continue
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict) and "nodeType" in item and "src" in item:
                yield item


def iterate(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in children(node):
        yield from iterate(child)


def rewrite(
    sources: Mapping[str, str],
    trees: Mapping[str, Node],
    mutated: Iterable[str],
    wanted: Collection[str] | None = None,
) -> tuple[dict[str, str], list[Mutant]]:
    """Return sources and all mutants of some of them, of which the sources hold those wanted."""
    constants = frozenset(
        node["id"]
        for tree in trees.values()
        for node in iterate(tree)
        if node["nodeType"] == "VariableDeclaration" and node.get("constant")
    )
    catalogue = Catalogue(wanted=wanted)
    result = dict(sources)
    for source in sorted(mutated):
        text = Rewriter(source, sources[source], trees[source], catalogue, constants).rewrite()
        path = "./" if source.startswith("contracts/protocol/") else "./protocol/"
        importing = f'import "{path}_Mutants.sol";'
        result[source] = re.sub(r"(?m)^(pragma .*)$", rf"\1\n{importing}", text, count=1)
    if IMAGE in result:
        for old, new in MOVED.items():
            assert result[IMAGE].count(old) == 1
            result[IMAGE] = result[IMAGE].replace(old, new)
    for source, text in result.items():
        if not source.startswith("contracts/.cache/"):
            # What reads the gas price is not pure.
            result[source] = re.sub(r"\bpure\b", "view", text)
    result[HELPERS] = "\n\n".join(
        (SWITCH, *(catalogue.helpers[n] for n in sorted(catalogue.helpers)))
    )
    return result, catalogue.mutants
