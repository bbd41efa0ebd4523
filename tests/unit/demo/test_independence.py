"""The judge must not share code with what it judges."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from growi_transfer import demo

JUDGE = ("compare", "compare_files", "findings", "rewrites")


@pytest.mark.parametrize("module", JUDGE)
def test_the_comparison_imports_nothing_of_the_product(module: str) -> None:
    tree = ast.parse((Path(demo.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    ours = {name for name in imported if name.startswith("growi_transfer")}
    assert ours <= {f"growi_transfer.demo.{name}" for name in JUDGE}
