import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_wheel_has_what_the_command_imports() -> None:
    """Every package of this project that the command needs is in the wheel."""
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ours = {each.parent.name for each in ROOT.glob("*/__init__.py")}
    trees = [ast.parse(path.read_text()) for package in packages for path in (ROOT / package).rglob("*.py")]
    imported = {
        name.partition(".")[0]
        for tree in trees for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert "verify" in packages
    assert imported & ours <= set(packages)
