"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import archpress_client

HEAVY = ("torch", "numpy", "pydantic", "typer", "click", "rich", "onnx", "onnxruntime")


def test_names_are_pinned() -> None:
    found = {
        name
        for name, value in vars(archpress_client).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert found == set(archpress_client.__all__)
    assert sorted(archpress_client.__all__) == archpress_client.__all__
    assert len(archpress_client.__all__) == 65


def test_no_type_of_grpc_or_protobuf_is_public() -> None:
    for name in archpress_client.__all__:
        module = getattr(getattr(archpress_client, name), "__module__", "")
        assert not module.startswith(("grpc", "google", "archpress_proto")), name


def test_import_is_light() -> None:
    code = f"import archpress_client, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_every_error_is_in_the_tree_of_the_docstring() -> None:
    from archpress_client import _errors

    for name, kind in vars(archpress_client).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert name in (_errors.__doc__ or ""), name
            assert issubclass(kind, archpress_client.ArchpressError)
