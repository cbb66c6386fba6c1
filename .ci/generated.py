"""Generates the code of bus.proto anew and holds it against what is committed."""

import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = "protosuite/bus/bus.proto"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I.",
            f"--python_out={folder}",
            f"--pyi_out={folder}",
        ]
        subprocess.run([*command, SOURCE], check=True)
        stale = [
            name
            for name in ("protosuite/bus/bus_pb2.py", "protosuite/bus/bus_pb2.pyi")
            if Path(folder, name).read_text() != Path(name).read_text()
        ]
    for name in stale:
        print(f"{name} is not what {SOURCE} gives: run `make proto` and commit it")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
