"""Every place where the engine says which device a tensor belongs on, and the slip of forgetting.

A slip is one such place left out of the source: `device=...` of a call, `.to(...device)`, `.cpu()`.
`planted` puts it into the running function, so that everybody who imported that has it.
"""

import ast
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Slip:
    """The `number`-th place of a module; `function` is the outermost one around it."""

    module: types.ModuleType
    number: int
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.function}: {self.text}"


def _without(node: ast.Call) -> ast.expr | None:
    """What is left of a call that forgets the device, or None where it names none."""
    if any(keyword.arg == "device" for keyword in node.keywords):
        kept = [keyword for keyword in node.keywords if keyword.arg != "device"]
        return ast.Call(node.func, node.args, kept)
    if isinstance(node.func, ast.Attribute):
        moves = node.func.attr == "to" and node.args and "device" in ast.unparse(node.args[0])
        if moves or node.func.attr == "cpu":
            return node.func.value
    return None


class _Planter(ast.NodeTransformer):
    """Lists the places of a module in order, and leaves out the one that is asked for."""

    def __init__(self, module: types.ModuleType, wanted: int | None = None):
        self.module, self.wanted = module, wanted
        self.slips: list[Slip] = []
        self.around: list[str] = []

    def _inside(self, node: ast.AST) -> ast.AST:
        self.around.append(node.name)
        self.generic_visit(node)
        self.around.pop()
        return node

    visit_ClassDef = visit_FunctionDef = _inside

    def visit_Call(self, node: ast.Call) -> ast.AST:
        text = ast.unparse(node)
        self.generic_visit(node)
        left = _without(node)
        if left is None:
            return node
        # a method is named by its class as well; what is nested in a function, by that function
        depth = 2 if inspect.isclass(getattr(self.module, self.around[0])) else 1
        function = ".".join(self.around[:depth])
        self.slips.append(Slip(self.module, len(self.slips), function, text))
        return ast.copy_location(left, node) if self.slips[-1].number == self.wanted else node


def _tree(module: types.ModuleType) -> ast.Module:
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def slips_of(module: types.ModuleType) -> list[Slip]:
    """All slips that `module` offers, in the order of its source."""
    planter = _Planter(module)
    planter.visit(_tree(module))
    return planter.slips


def _code(code: types.CodeType, name: str) -> types.CodeType:
    """The code of the function or method `name` within a module's."""
    for part in name.split("."):
        inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
        code = next(c for c in inner if c.co_name == part)
    return code


@contextmanager
def planted(slip: Slip) -> Iterator[None]:
    """The engine with the slip in it."""
    tree = ast.fix_missing_locations(_Planter(slip.module, slip.number).visit(_tree(slip.module)))
    code = _code(compile(tree, slip.module.__file__, "exec"), slip.function)
    target: object = slip.module
    for part in slip.function.split("."):
        target = inspect.getattr_static(target, part)
    function = inspect.unwrap(target.fget if isinstance(target, property) else target)
    right = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = right
