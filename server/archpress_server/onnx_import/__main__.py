"""Reads an ONNX file from standard input and writes what it found as JSON: the isolated process.

The limits are set before the first byte is read, since a file may be made to need far more memory
or time than its size says.
"""

from __future__ import annotations

import json
import resource
import sys

MEMORY_BYTES = 4 * 2**30
"""Address space; the interpreter and its libraries take a part of it."""
CPU_SECONDS = 30


def main() -> int:
    """Write one JSON object: `architecture`, or `violations` and `metadata`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from archpress_server.compress.types import RequestError
    from archpress_server.onnx_import.read import read_onnx

    found: dict[str, object]
    try:
        found = {"architecture": read_onnx(sys.stdin.buffer.read()).architecture.to_json()}
    except RequestError as error:
        violations = [(v.path, v.description, v.reason) for v in error.violations]
        found = {"violations": violations, "metadata": error.metadata}
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
