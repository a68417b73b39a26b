"""Who imports whom inside a package, read from its source: modules, rooms, floors, circles.

A room is what a visitor of the package's folder sees: a module, or a folder with all it holds.
Imports under `if TYPE_CHECKING` are left out; those inside functions count like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Node -> the nodes it points to.
Graph = Mapping[str, frozenset[str]]


def module_files(package: Path) -> dict[str, Path]:
    """Module name -> file of every module of a package."""
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def import_graph(package: Path) -> dict[str, frozenset[str]]:
    """Module -> the modules of the same package that it imports."""
    files = module_files(package)
    graph = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name for node in _run_statements(tree) for name in _imported(node)}
        found = {_nearest_module(name, files) for name in names}
        graph[module] = frozenset(found & {*files} - {module, package.name})
    return graph


def room_graph(package: Path) -> dict[str, frozenset[str]]:
    """Room -> the rooms it imports; the package's own `__init__` is no room."""
    rooms: dict[str, set[str]] = {}
    for module, imported in import_graph(package).items():
        if module != package.name:
            targets = rooms.setdefault(_room(module), set())
            targets.update(_room(target) for target in imported)
    return {room: frozenset(targets - {room}) for room, targets in rooms.items()}


def floors(graph: Graph) -> list[list[str]]:
    """The nodes from the bottom up: each on the lowest floor above all that it points to.

    Nodes that reach each other stand on one floor.
    """
    level: dict[str, int] = {}
    for component in components(graph):  # targets come first
        below = {target for node in component for target in graph[node]} - {*component}
        height = max((level[target] + 1 for target in below), default=0)
        level |= dict.fromkeys(component, height)
    top = max(level.values(), default=-1)
    return [sorted(node for node in level if level[node] == floor) for floor in range(top + 1)]


def circles(graph: Graph) -> list[list[str]]:
    """The groups of nodes that reach each other."""
    return [component for component in components(graph) if len(component) > 1]


def without_shortcuts(graph: Graph) -> dict[str, list[str]]:
    """The arrows that no way over another node implies."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    reached = {node: reach(node) for node in graph}
    return {
        node: sorted(
            target
            for target in targets
            if not any(
                target in reached[other] and node not in reached[other]
                for other in targets - {target}
            )
        )
        for node, targets in graph.items()
    }


def components(graph: Graph) -> list[list[str]]:
    """Strongly connected components, targets before those that point to them (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            start = stack.index(node)
            found.append(sorted(stack[start:]))
            del stack[start:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _run_statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _run_statements(child)


def _imported(node: ast.AST) -> list[str]:
    """What an import statement names, in full; a module's members look like modules here."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _nearest_module(name: str, files: Mapping[str, Path]) -> str:
    while name not in files and "." in name:
        name = name.rpartition(".")[0]
    return name


def _room(module: str) -> str:
    return module.split(".")[1]
