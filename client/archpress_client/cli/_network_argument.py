"""The network that a command is given: a name, or a file of layers, of a model or of Python."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path

import typer

from archpress_client._client import Client
from archpress_client._errors import ArchpressError
from archpress_client._network import Network, is_torch_module
from archpress_client._operations import Given

_HINT = "NETWORK"


def read_network(client: Client, argument: str, dataset: str) -> Given:
    """Return what an argument names.

    An ONNX file is uploaded. Of a Python file's class only the layers are taken, since a new object
    has learnt nothing; what its functions return, and objects, have weights.

    Raises:
        InvalidRequestError: the network cannot be expressed.
    """
    try:
        if argument.endswith(".onnx"):
            return client.upload(argument).artifact
        if argument.endswith(".json"):
            return Network.load(argument)
        path, separator, name = argument.rpartition(":")
        return _of_python(client, Path(path), name, dataset) if separator else argument
    except ArchpressError:
        # Some of the client's errors are an OSError as well, but none of the file's.
        raise
    except OSError as error:
        raise _bad(f"{argument}: {error.strerror}") from None


def _of_python(client: Client, path: Path, name: str, dataset: str) -> Given:
    named = _named(path, name)
    is_class = inspect.isclass(named)
    if callable(named) and not is_torch_module(named):
        try:
            named = named()
        except (Exception, SystemExit) as error:
            raise _bad(f"{name}() fails: {type(error).__name__}: {error}") from error
    if not is_torch_module(named):
        raise _bad(f"{name} in {path} gives a {type(named).__name__}, not a torch.nn.Module")
    return client.layers(named, dataset=dataset) if is_class else named


def _named(path: Path, name: str) -> object:
    """Run a Python file, as `python FILE` would, and return what it calls by a name."""
    if not path.is_file():
        raise _bad(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise _bad(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Its own imports, and pickles of its classes, need both.
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _bad(f"{path} fails: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        names = ", ".join(key for key in vars(module) if not key.startswith("_"))
        raise _bad(f"{path} has no {name!r}; it has {names}")
    found: object = getattr(module, name)
    return found


def _bad(text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint=_HINT)
