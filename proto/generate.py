#!/usr/bin/env python3
"""Generates the Python stubs beside the `.proto` files.

    python proto/generate.py            write the stubs
    python proto/generate.py --check    exit with 1 if the stubs in the tree are not these

Needs Python 3.11 to 3.13 (the generator has no wheels for later ones) and an index for pip.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKAGE = "archpress_proto/v1"

# Stubs run on the generator's version of grpcio and protobuf or newer, never on older ones. An old
# generator therefore keeps the floors in pyproject.toml low; raise them together.
GENERATOR = (
    "grpcio-tools==1.72.1",
    "grpcio==1.72.1",
    "protobuf==6.30.0",
    "googleapis-common-protos==1.70.0",
    "setuptools==80.9.0",
)
# An environment of its own, since it needs a newer protobuf than the generator. It only writes
# `.pyi`, which no runtime reads.
TYPING_PLUGIN = (
    "mypy-protobuf==5.1.0",
    "protobuf==7.36.2",
    "types-protobuf==7.35.1.20260906",
)


def make_environment(path: Path, requirements: tuple[str, ...]) -> Path:
    """Makes a virtual environment with the requirements and returns its folder of programs."""
    venv.create(path, with_pip=True)
    programs = path / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", *requirements],
        check=True,
        stdout=sys.stderr,
    )
    return programs


def generate(target: Path, scratch: Path) -> None:
    """Writes the stubs of all `.proto` files below `target`."""
    generator = make_environment(scratch / "generator", GENERATOR)
    plugin = make_environment(scratch / "plugin", TYPING_PLUGIN)
    libraries = subprocess.run(
        [generator / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).glob("*.proto"))
    services = [file for file in files if file.endswith("_service.proto")]
    protoc = [
        str(generator / "python"),
        *("-m", "grpc_tools.protoc", f"-I{ROOT}", f"-I{libraries}"),
        f"--plugin=protoc-gen-mypy={plugin / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugin / 'protoc-gen-mypy_grpc'}",
    ]
    messages_out = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    services_out = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    subprocess.run([*protoc, *messages_out, *files], check=True, cwd=ROOT)
    subprocess.run([*protoc, *services_out, *services], check=True, cwd=ROOT)


def stubs_below(root: Path) -> dict[str, bytes]:
    """Returns the stubs below a folder by file name."""
    return {path.name: path.read_bytes() for path in sorted((root / PACKAGE).glob("*_pb2*.py*"))}


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Generates the Python stubs.")
    parser.add_argument("--check", action="store_true", help="compare only; 1 if they differ")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archpress-stubs-") as scratch:
        target = Path(scratch) / "out"
        target.mkdir()
        generate(target, Path(scratch))
        wanted, found = stubs_below(target), stubs_below(ROOT)
    changed = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if arguments.check:
        for name in changed:
            print(f"proto/{PACKAGE}/{name} is not what its .proto makes", file=sys.stderr)
        if changed:
            print("run: make stubs", file=sys.stderr)
        return 1 if changed else 0
    for name in changed:
        path = ROOT / PACKAGE / name
        if name in wanted:
            path.write_bytes(wanted[name])
        else:
            path.unlink()
        print(f"proto/{PACKAGE}/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
