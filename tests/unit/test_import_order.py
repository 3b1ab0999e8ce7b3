"""The import order of docs/architecture.md, enforced on the source as text."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sampan"

ORDER = (
    "errors", "config", "linux", "oci", "api", "archive", "dockerfile", "storage", "registry",
    "runtime", "network", "build", "engine", "server", "daemon",
)  # fmt: skip
SIDE = {
    "client": {"errors", "config", "api", "client"},
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


# Two lazy doors: the command line hands a whole process over to the daemon or the registry.
DOORS = {("cli", "daemon"), ("cli", "registry")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_imports_only_what_stands_before_it(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if package in ("__init__", "__main__"):
        return
    upward = imported(ast.parse(path.read_text())) - allowed(package)
    assert not {name for name in upward if (package, name) not in DOORS}
