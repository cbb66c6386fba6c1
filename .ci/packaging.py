"""Builds the sdist and, from it, the wheel, and checks that the wheel holds what a user needs."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NEEDED = [
    "protosuite/py.typed",
    "protosuite/storage/migrations/env.py",
    "twisted/plugins/protosuite_endpoints.py",
    "twisted/plugins/protosuite_plugin.py",
]
# A package of Twisted's own: an __init__.py of ours would hide every other plugin.
UNWANTED = ["twisted/__init__.py", "twisted/plugins/__init__.py"]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "build", "--outdir", folder, "."], check=True, stdout=subprocess.DEVNULL
        )
        (wheel,) = Path(folder).glob("*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path) for path in Path("protosuite").rglob("*.py")}
    missing = (sources | set(NEEDED)) - names
    extra = names & set(UNWANTED)
    tops = {name.split("/")[0] for name in names} - {"protosuite", "twisted"}
    strange = {top for top in tops if not top.endswith(".dist-info")}
    for problem, found in (("missing from", missing), ("not wanted in", extra | strange)):
        for name in sorted(found):
            print(f"{name}: {problem} the wheel")
    return 1 if missing or extra or strange else 0


if __name__ == "__main__":
    sys.exit(main())
