"""The import order of docs/architecture.md, and that no files import one another in a circle, on the source as text."""

import ast
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sampan"

ORDER = (
    "errors", "config", "linux", "oci", "api", "archive", "dockerfile", "storage", "registry",
    "runtime", "network", "build", "engine", "server", "daemon",
)  # fmt: skip
SIDE = {
    "client": {"errors", "config", "api", "client", "dockerfile"},
    "cli": {"errors", "config", "api", "client", "cli"},
}


def allowed(package: str) -> set[str]:
    """Packages that ``package`` may import, itself included."""
    return SIDE.get(package) or set(ORDER[: ORDER.index(package) + 1])


def imported(tree: ast.AST) -> set[str]:
    """First components below ``sampan`` of all absolute imports at module level or inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sampan."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "sampan":
            names.update(alias.name for alias in node.names if not alias.name.startswith("_"))
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sampan."))
    return names


# Lazy doors: the command line hands a whole process over to the daemon or the registry; the builder's package offers
# Python programs the client's way to build.
DOORS = {("cli", "daemon"), ("cli", "registry"), ("build", "client")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_imports_only_what_stands_before_it(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if package in ("__init__", "__main__"):
        return
    upward = imported(ast.parse(path.read_text())) - allowed(package)
    assert not {name for name in upward if (package, name) not in DOORS}


def name_of(path: Path) -> str:
    """The module's name: ``engine/execs.py`` → ``sampan.engine.execs``."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


@cache
def imports() -> Mapping[str, set[str]]:
    """Each module's imports within the program, those for annotations only included."""
    modules = {name_of(path): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= (whole & set(modules)) or {node.module} & set(modules)
    return found


@pytest.mark.parametrize("package", ORDER)
def test_no_files_of_a_package_import_one_another_in_a_circle(package: str) -> None:
    own = {name: needs for name, needs in imports().items() if name.startswith(f"sampan.{package}")}
    graph = {name: {need for need in needs if need in own and need != name} for name, needs in own.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
