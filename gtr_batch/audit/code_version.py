"""Which code and which libraries an audit is made by: read off its imports, so that no list of them can be wrong."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from attrs import frozen

from gtr_batch import __version__

ROOTS = ("gtr_batch.audit.findings", "gtr_batch.audit.report")  # what computes, and what writes and draws
_PACKAGE = Path(__file__).resolve().parents[1]


@frozen
class Code:
    """Our files, those beside them that are no Python (templates) among them, and libraries with their versions."""

    files: tuple[Path, ...]
    libraries: tuple[tuple[str, str], ...]


@lru_cache
def code_version() -> str:
    """Our version, and a digest of the code and the libraries that compute and draw."""
    code, digest = code_of(ROOTS), hashlib.sha256()
    for path in code.files:
        digest.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    for name, version in code.libraries:
        digest.update(f"{name}=={version}\0".encode())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def code_of(roots: tuple[str, ...]) -> Code:
    """Everything that these modules import, directly or through others of ours, also inside functions."""
    waiting, ours, others = list(roots), {}, set()
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in ours or path is None:
            continue
        ours[name] = path
        if "." in name:
            waiting.append(name.rpartition(".")[0])  # importing a module runs its package, too
        for imported in _imports(path):
            if imported.partition(".")[0] == _PACKAGE.name:
                waiting.append(imported)
            else:
                others.add(imported.partition(".")[0])
    modules = set(ours.values())
    return Code(tuple(sorted({*modules, *_beside(modules)})), tuple(_distributions(others)))


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None where the name is something inside a module."""
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """Names of modules; of ``from a import b`` both ``a`` and ``a.b``, which may be a module or something inside it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _beside(modules: set[Path]) -> Iterator[Path]:
    """What packages carry beside their modules: files in their folders that hold no Python."""
    for folder in {path.parent for path in modules}:
        for inner in (p for p in folder.iterdir() if p.is_dir() and p.name != "__pycache__"):
            if not any(inner.rglob("*.py")):
                yield from (p for p in inner.rglob("*") if p.is_file())


def _distributions(imported: set[str]) -> Iterator[tuple[str, str]]:
    """Name and version of each library that has one of these top-level modules."""
    known = metadata.packages_distributions()
    names = {name for module in imported - set(sys.stdlib_module_names) for name in known.get(module, ())}
    yield from ((name, metadata.version(name)) for name in sorted(names, key=str.lower))
