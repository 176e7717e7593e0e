"""What no commit may bring: paths of somebody's machine, and files too big for a repository.

    python .ci/check_files.py [FILE …]    # without files: all that git knows

Run before every commit by pre-commit, and in the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Home folders and folders for temporary files; /home/waveglow is the user of our Docker image.
START = r"(?:(?<![\w.~/)}-])|(?<=file://))"  # of an absolute path
MACHINE_PATH = re.compile(START + r"/(?:root|tmp|work|Users/\w+|home/(?!waveglow\b)\w+)(?:/|\b)|\b[A-Z]:\\+Users\\")
MIB = 2**20
LIMITS = {"waveglow/voices/": 24 * MIB, "waveglow/image_models/": 4 * MIB, "tests/golden/": 2 * MIB, "": MIB // 2}


def faults(name: str, content: bytes) -> Iterator[str]:
    """What is wrong with a file, one sentence each, e.g. "docs/a.md:3: names a path of a machine, /home/…"."""
    folder, limit = next(item for item in LIMITS.items() if name.startswith(item[0]))
    if len(content) > limit:
        yield f"{name}: has {len(content)} bytes; the most for {folder or 'a file'} is {limit} (.ci/check_files.py)"
    if b"\0" in content:
        return
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield f"{name}:{number}: names a path of a machine, {found.group()}; say it relative to the repository"


def tracked() -> list[str]:
    """All files that git knows."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if (ROOT / name).is_file()]


def main(names: list[str]) -> int:
    found = [fault for name in names or tracked() for fault in faults(name, (ROOT / name).read_bytes())]
    print("\n".join(found), end="\n" if found else "")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
