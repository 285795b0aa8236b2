"""Which code this is: its commit, and a digest of what it computes.

The digest is taken over the syntax trees of modules and of all that they import of this project. Comments, docstrings,
the texts of errors, layout, and names of files and modules do not count, so that a correction of these refuses no
study. Everything else does; a refactoring that computes the same may change the digest.
"""

import ast
import functools
import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ("search", "space")
# Nothing that they do reaches a number; the settings that do are in a study's fingerprint one by one.
PLUMBING = {
    "search.errors", "search.files", "search.text", "search.devices", "search.preparation.cache",
    "search.settings.settings", "search.settings.sections", "search.settings.bucket", "search.settings.storage_url",
    "search.study.recorded",
}  # fmt: skip


@functools.cache
def digest(*modules: str, root: Path = ROOT) -> str:
    """SHA-256, 16 digits, over `modules` and what they import, at the top and inside functions, below `root`."""
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in trees or name in PLUMBING or (file := _file(name, root)) is None:
            continue
        trees[name] = ast.parse(file.read_bytes())
        waiting += _imports(trees[name])
    each = sorted(hashlib.sha256(ast.dump(_Plain().visit(tree)).encode()).hexdigest() for tree in trees.values())
    return hashlib.sha256("".join(each).encode()).hexdigest()[:16]


def _file(module: str, root: Path) -> Path | None:
    file = root.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.is_file() else None


def _imports(tree: ast.Module) -> Iterable[str]:
    """Those of this project, which its modules import by `from`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_ours(node):
            yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))


def _is_ours(node: ast.ImportFrom) -> bool:
    return (node.module or "").partition(".")[0] in PROJECT


class _Plain(ast.NodeTransformer):
    """Without imports from this project, docstrings, and what an error says."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if _is_ours(node) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return node


def commit() -> str | None:
    """The commit of this checkout, with "-dirty" after it for uncommitted changes; None outside a checkout.

    A container image has no checkout; its build may name the commit in XTTS_STUDY_COMMIT.
    """
    if os.environ.get("XTTS_STUDY_COMMIT"):
        return os.environ["XTTS_STUDY_COMMIT"]
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
