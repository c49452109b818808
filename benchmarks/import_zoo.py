"""Which of torchvision's classification networks can be imported, and whether the costs are exact.

Every network that torchvision lists is built without weights, for its own image size, and read by
`Network.from_torch`. Parameters are compared with torch's own, multiply-accumulates with torch's
`FlopCounterMode`, which counts what runs. Small networks are also written as ONNX and read by the
server. What is refused stands in the table with its reason.

    python benchmarks/import_zoo.py
    python benchmarks/import_zoo.py alexnet --output one.json --page one.md
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from arguments import output_file
from json_lines import RESULTS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from archpress_client import InvalidRequestError, Network
from archpress_client._convert_network import network_to_proto
from archpress_client.torch_import import onnx_bytes
from archpress_server.compress.types import RequestError
from archpress_server.onnx_import.read import read_onnx
from archpress_server.service.convert_network import architecture_from_proto
from archpress_trainer.space.costs import count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture

PAGE = Path(__file__).parents[1] / "docs" / "import-zoo.md"
_SIDE = 224
_SIDES = {"inception_v3": 299}
_ONNX_PARAMS = 12_000_000
"""Larger networks would only take longer."""


@dataclass(frozen=True)
class Row:
    """What became of one network; costs are of one image."""

    name: str
    side: int
    params: int
    macs: int
    """By torch's counter."""
    layers: int = 0
    imported_params: int = 0
    imported_macs: int = 0
    onnx: str = ""
    """Whether the server reads the same layers from its ONNX file; empty where not tried."""
    refusal: str = ""

    @property
    def exact(self) -> bool:
        """Whether it was imported with the costs that the counters found."""
        return (self.imported_params, self.imported_macs) == (self.params, self.macs)


def main() -> None:
    """Import, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", type=_known, help="only these, to files of your own")
    parser.add_argument("--output", type=output_file, help="JSON; the committed one by default")
    parser.add_argument("--page", type=output_file, help="Markdown; the committed one by default")
    options = parser.parse_args()
    if options.names and None in (options.output, options.page):
        parser.error("the committed files are of all networks: some need --output and --page")
    logging.getLogger("torch").setLevel(logging.ERROR)
    rows = []
    for name in options.names or models.list_models(module=models):
        rows.append(look_at(name))
        print(asdict(rows[-1]), flush=True)
    record = {
        "command": shlex.join(["python", "benchmarks/import_zoo.py", *sys.argv[1:]]),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "rows": [asdict(row) for row in rows],
    }
    output, made = options.output or RESULTS / "import-zoo.json", options.page or PAGE
    output.write_text(json.dumps(record, indent=1) + "\n")
    made.write_text(page(rows, record))


def _known(name: str) -> str:
    if name not in models.list_models(module=models):
        raise argparse.ArgumentTypeError(f"torchvision has no network {name!r} for classification")
    return name


def look_at(name: str) -> Row:
    """Import one network."""
    side = _SIDES.get(name, _SIDE)
    shape = (3, side, side)
    module = _without_numbers(_builder(name)).eval()
    macs = _counted(module, shape)
    params = sum(parameter.numel() for parameter in module.parameters())
    try:
        network = Network.from_torch(module, shape)
        architecture = architecture_from_proto(network_to_proto(network))
    except (InvalidRequestError, ArchitectureError) as error:
        return Row(name, side, params, macs, refusal=_short(str(error)))
    costs = count(architecture)
    small = params <= _ONNX_PARAMS
    return Row(
        name,
        side,
        params,
        macs,
        len(architecture.layers),
        costs.params,
        costs.macs,
        _through_onnx(_builder(name)(), shape, architecture) if small else "",
    )


def _builder(name: str) -> Callable[[], nn.Module]:
    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # As they are used: their other outputs are for training.
        settings = {"aux_logits": False, "init_weights": False}
    return lambda: models.get_model(name, weights=None, **settings)


def _without_numbers(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a module on the meta device, where the largest takes no memory."""
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:
        # RegNet calculates its widths with tensors.
        return build().to("meta")


def _counted(module: nn.Module, shape: tuple[int, int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, *shape, device="meta"))
    return int(counter.get_total_flops()) // 2


def _through_onnx(
    module: nn.Module, shape: tuple[int, int, int], architecture: Architecture
) -> str:
    try:
        found = read_onnx(onnx_bytes(module, shape)).architecture
    except RequestError as error:
        return _short(str(error))
    kinds = [layer.kind for layer in found.layers]
    # Files hold no dropouts.
    expected = [layer.kind for layer in architecture.layers if layer.kind.name != "DROPOUT"]
    same = kinds == expected and count(found).macs == count(architecture).macs
    return "same" if same else "other layers"


def _short(reason: str) -> str:
    return reason.partition("; known are")[0].removeprefix("module: ")


def page(rows: list[Row], record: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    imported = [row for row in rows if not row.refusal]
    exact = sum(row.exact for row in imported)
    files = [row for row in imported if row.onnx]
    lines = [
        "# Networks of torchvision",
        "",
        f"Made by `{record['command']}` with torch {record['torch']} and torchvision "
        f"{record['torchvision']}.",
        f"Of {len(rows)} networks {len(imported)} are imported, {exact} of them with exactly the "
        "parameters that torch counts",
        "and the multiply-accumulates that its `FlopCounterMode` counts while they run; the others "
        "are refused with the place and",
        f"the reason. {len(files)} small ones were also written as ONNX and read by the server: "
        f"{sum(row.onnx == 'same' for row in files)} with the same layers.",
        "",
        "| network | image | parameters | MACs | layers | ONNX |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.side} | {row.imported_params:,}{_mark(row)} | "
        f"{row.imported_macs:,} | {row.layers} | {row.onnx} |"
        for row in imported
    ]
    lines += ["", "| refused | why |", "|---|---|"]
    lines += [f"| {row.name} | {row.refusal} |" for row in rows if row.refusal]
    return "\n".join(lines) + "\n"


def _mark(row: Row) -> str:
    return "" if row.exact else f" (counted: {row.params:,} and {row.macs:,})"


if __name__ == "__main__":
    main()
