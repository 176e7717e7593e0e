"""Change the program at random places, one at a time, and see which changes no test notices.

    python tests/mutate.py --help

A mutant is a copy of the repository in a temporary folder with one change in one function: a comparison turned round,
+ for −, a `not` dropped, a condition negated, a number moved by one, a call whose result nobody uses left out. The
tests that name the module run on it. Those that stay green for a mutant have not looked there: it is printed with its
line. Tests that hang have noticed it, so give --seconds well above what they take.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


class Mutation(NamedTuple):
    """`old` source at a place of a file, and the `new` one that takes it."""

    path: Path
    node: ast.AST
    new: str

    def text(self) -> str:
        return (
            f"{self.path.relative_to(ROOT)}:{self.node.lineno}: {_brief(ast.unparse(self.node))} -> {_brief(self.new)}"
        )

    def source(self) -> str:
        """The file with the change, as text: the rest stays as it is, line by line."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        first, last = self.node.lineno - 1, self.node.end_lineno - 1
        head, tail = lines[first][: self.node.col_offset], lines[last][self.node.end_col_offset :]
        lines[first : last + 1] = [head + self.new.encode() + tail]
        return b"".join(lines).decode()


def _brief(source: str) -> str:
    return source if len(source) <= 60 else f"{source[:57]}..."


def mutations(path: Path) -> Iterator[Mutation]:
    """All that can be changed in the functions of a file; annotations and messages are left alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body:
                for node in _inside(statement):
                    if new := changed(node):
                        yield Mutation(path, node, new)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is below it, but other functions, texts, annotations and what is raised."""
    if isinstance(node, (ast.FunctionDef, ast.Raise, ast.JoinedStr)):
        return
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name != "annotation":
                yield from _inside(child)


def changed(node: ast.AST) -> str | None:
    """Source of what a node becomes, None where nothing is known for it."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            other = ast.Compare(node.left, [COMPARISONS[type(op)]()], node.comparators)
            return f"({ast.unparse(other)})"
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            return f"({ast.unparse(ast.BinOp(node.left, OPERATORS[type(op)](), node.right))})"
        case ast.UnaryOp(op=ast.Not()):
            return f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool(value)):
            return str(not value)
        case ast.Constant(value=int(value) | float(value)):
            return f"({value + 1!r})"
        case ast.BoolOp(op=op):
            return f"({ast.unparse(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values))})"
        case ast.IfExp():
            return f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
        case ast.Expr(value=ast.Call()):
            return "pass"
    return None


def tests_of(path: Path) -> list[Path]:
    """Test files that name a module as they import it, or are named after it; all that name its package else."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    parent, _, name = module.rpartition(".")
    imports = re.compile(rf"\b{re.escape(module)}\b|from {re.escape(parent)} import [^\n]*\b{name}\b")
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    named = [file for file in files if imports.search(file.read_text(encoding="utf-8")) or file.stem == f"test_{name}"]
    return named or [file for file in files if f"{parent}." in file.read_text(encoding="utf-8")]


def noticed(mutation: Mutation, copy: Path, tests: list[Path], *, seconds: float) -> bool:
    """Whether a test of the copy goes red for a mutation. The copy is as before, afterwards."""
    target = copy / mutation.path.relative_to(ROOT)
    original = target.read_text(encoding="utf-8")
    target.write_text(mutation.source(), encoding="utf-8")
    try:
        return not green(copy, tests, seconds=seconds)
    finally:
        target.write_text(original, encoding="utf-8")


def green(copy: Path, tests: list[Path], *, seconds: float) -> bool:
    """Whether all tests of a copy pass in that time."""
    files = [str(file.relative_to(ROOT)) for file in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def sources(places: list[str]) -> list[Path]:
    """The Python files that places below waveglow/ mean. Raises SystemExit where one isn't there."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        if not path.exists():
            sys.exit(f"mutate.py: {place} is not in {ROOT}; give files or folders such as waveglow/data")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the mutants that survive; 1 where there are any."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="The same --seed takes the same places as long as the files are the same. A survivor may be a change "
        "that makes no difference: look before you write a test. Exit codes: 0 all were noticed, 1 some survived.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", nargs="*", default=["waveglow"], help="files or folders to change (waveglow)")
    parser.add_argument("--count", "-n", type=int, default=20, help="how many places (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    parser.add_argument(
        "--seconds", type=float, default=120, help="for the tests of one mutant; more counts as noticed"
    )
    parser.add_argument("--tests", nargs="+", type=Path, help="test files to run (those that name the module)")
    parser.add_argument("--list", action="store_true", help="print the places and the tests, and run nothing")
    args = parser.parse_args(arguments)
    known = [mutation for path in sources(args.places) for mutation in mutations(path)]
    chosen = random.Random(args.seed).sample(known, min(args.count, len(known)))
    print(f"{len(chosen)} of {len(known)} places, seed {args.seed}", flush=True)
    survivors, sound = 0, set()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        if not args.list:
            skip = shutil.ignore_patterns(".*", "_build", "runs", "*.egg-info", "__pycache__")
            shutil.copytree(ROOT, copy, ignore=skip)
        for mutation in chosen:
            tests = [path.resolve() for path in args.tests or []] or tests_of(mutation.path)
            if args.list:
                print(f"{mutation.text()}  [{' '.join(path.stem for path in tests)}]")
                continue
            if tuple(tests) not in sound and tests and not green(copy, tests, seconds=args.seconds):
                sys.exit(f"mutate.py: {' '.join(map(str, tests))}: red or too slow without any change")
            sound.add(tuple(tests))
            if not tests or not noticed(mutation, copy, tests, seconds=args.seconds):
                survivors += 1
                print(f"survived: {mutation.text()}{'' if tests else '  (no test names this module)'}", flush=True)
    if not args.list:
        print(f"{survivors} of {len(chosen)} survived")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
