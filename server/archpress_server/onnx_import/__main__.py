"""Reads an ONNX file from standard input and writes what it found as JSON: the isolated process.

The limits are set before the first byte is read, since a file may be made to need far more memory
or time than its size says.
"""

from __future__ import annotations

import json
import os
import resource
import sys

MEMORY_BYTES = 2**30
"""Address space beside the file's; the interpreter and its libraries take an eighth of it."""
MEMORY_PER_FILE = 8
"""Times the file's size; weights take up to five."""
CPU_SECONDS = 30


def main() -> int:
    """Write one JSON object: `architecture`, or `violations` and `metadata`.

    The file's size is the only argument.
    """
    memory_bytes = MEMORY_BYTES + MEMORY_PER_FILE * int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Each thread of numpy's takes 40 MiB of addresses, and there is one for each CPU.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
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
