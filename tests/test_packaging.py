"""The house: folders are packages, data travels in the wheel, imports are whole, core knows no Ray."""

import ast
import re
import resource
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("core", "training", "deployments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = [path.relative_to(ROOT) for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]


def _imports(path: Path) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements of a file, and whether each stands inside a function."""
    found = []

    def walk(node: ast.AST, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                found.append((child, inside))
            walk(child, inside or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    walk(ast.parse((ROOT / path).read_text()), False)
    return found


def _names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return ["." * statement.level + (statement.module or "")]


def test_packages_are_the_folders() -> None:
    folders = {
        ".".join(("alignhmr", *path.parent.relative_to(ROOT).parts))
        for part in PARTS
        for path in (ROOT / part).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders | {"alignhmr"}


def test_every_folder_of_modules_is_a_package() -> None:
    assert [str(path) for path in MODULES if not (ROOT / path).with_name("__init__.py").exists()] == []


def test_every_data_file_travels_in_the_wheel() -> None:
    packages = {name.removeprefix("alignhmr").strip(".").replace(".", "/"): name
                for name in PROJECT["tool"]["setuptools"]["packages"]}  # fmt: skip
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for part in PARTS:
        for path in (ROOT / part).rglob("*"):
            relative = path.relative_to(ROOT)
            made = path.suffix in (".py", ".pyc", ".nbc", ".nbi")
            for_people = path.name == "README.md" or (
                relative.parts[0] == "deployments" and relative.parts[1] in ("kubernetes", "monitoring")
            )
            if not path.is_file() or made or for_people or path.name == "py.typed":
                continue
            home = next(folder for folder in relative.parents if str(folder) in packages)
            inside = str(relative.relative_to(home))
            wanted = patterns.get(packages[str(home)], [])
            assert any(fnmatch(inside, pattern) for pattern in wanted), f"{relative} is in no package-data"


@pytest.mark.parametrize("path", MODULES + TESTS, ids=str)
def test_imports_are_whole(path: Path) -> None:
    for statement, _ in _imports(path):
        for name in _names(statement):
            assert not name.startswith("."), f"line {statement.lineno}: relative import"
            assert name.split(".")[0] not in PARTS, f"line {statement.lineno}: import alignhmr.{name}"


def test_heavy_optional_packages_are_imported_inside_functions() -> None:
    for path in MODULES:
        for statement, inside in _imports(path):
            for name in _names(statement):
                assert inside or name.split(".")[0] not in ("vllm", "anny"), (
                    f"{path}:{statement.lineno}: {name}"
                )


def test_core_runs_without_infrastructure() -> None:
    """Not only by its statements: no dependency of core may load these either."""
    names = [
        ".".join(("alignhmr", *path.with_suffix("").parts)) for path in MODULES if path.parts[0] == "core"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
        "sys.exit(' '.join(sorted({'ray', 'fastapi', 'boto3', 'vllm', 'anny'} & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_answers_within_a_second() -> None:
    """In seconds of work, the best of three: seconds on the clock would tell about the machine's other work."""
    program = Path(sys.executable).with_name("alignhmr")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 1


def test_constraints_pin_each_name_once_for_any_machine() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    names = [re.fullmatch(r"([a-z0-9-]+)==([\w.]+)", line) for line in lines]
    assert all(names), "only name==version, without local versions or addresses"
    pinned = [match.group(1) for match in names if match]
    assert len(set(pinned)) == len(pinned)
    assert pinned == sorted(pinned)


def test_constraints_cover_what_the_project_asks_for() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    project = PROJECT["project"]
    extras = [wanted for extra in project["optional-dependencies"].values() for wanted in extra]
    for wanted in [*project["dependencies"], *extras]:
        name = re.split(r"[\[<>=; ]", wanted)[0]
        assert name in pinned, f"{name} is not in constraints.txt"


def test_nothing_is_private_to_a_machine() -> None:
    """Only what git tracks counts."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert not [name for name in listed.stdout.split() if re.search(r"__pycache__|\.egg-info|\.venv", name)]
