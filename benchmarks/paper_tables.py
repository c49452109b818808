"""The paper's tables 1 and 2, measured here: ours at the paper's size, and the input network.

A row of table 1 is jobs of `certificates.py` with the size of the paper's result as the limit, and
its lines are lines of that program: the certificate's accuracy over the test split, and the input
network's by our recipe where it teaches. Table 2 has the paper's rivals on CIFAR-10, as it printed
them; ours there is the row `cifar10` of table 1.

The effort is STANDARD where there is a GPU and DRAFT where there is none, since CONV-10 costs 20
times what CONV-7 does; every line says which. A row whose data or embedding is not at hand stays
empty, with the reason in `paper_tables.jsonl`. Run again, the program goes on where it was, within
a job too.

    python benchmarks/paper_tables.py --rows fashion-mnist
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import certificates
from arguments import named_path, named_value, positive, usage_errors
from json_lines import RESULTS, JsonLines, Record
from recipes import NETWORKS

from archpress_server.compress.types import Effort
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.training.device import best_compute

REASONS_FILE = "paper_tables.jsonl"
"""Why rows are empty."""

INPUTS = {"fashion-mnist": RESULTS / "conv-7.input.safetensors"}
"""Input networks that come with the request of a draft, which trains none."""


@dataclass(frozen=True)
class PaperRow:
    """A row of table 1: accuracies in percent, as printed, and what its images are."""

    input_shape: tuple[int, int, int]
    classes: int
    input_accuracy: float
    input_params: int
    accuracy: float
    params: int


TABLE_1: Mapping[str, PaperRow] = {
    "fashion-mnist": PaperRow((1, 28, 28), 10, 91.46, 708_000, 92.44, 93_000),
    "cifar10": PaperRow((3, 32, 32), 10, 92.35, 24_400_000, 92.31, 1_200_000),
    "cifar100": PaperRow((3, 32, 32), 100, 70.95, 24_400_000, 69.63, 5_400_000),
    "svhn": PaperRow((3, 32, 32), 10, 96.02, 24_400_000, 95.39, 2_785_000),
}
"""What the paper printed; sizes of its results follow from its compression rates."""

TABLE_2 = (
    ("Romero et al. (2014), distillation", 91.33, 1_200_000),
    ("Molchanov et al. (2016), pruning", 91.06, 2_300_000),
    ("Ashok et al. (2018), policy gradient", 92.05, 1_700_000),
    ("the paper", 92.31, 1_200_000),
)
"""Name, accuracy in percent and parameters on CIFAR-10, as printed."""


class EmptyRowError(Exception):
    """A row that cannot be measured here; the message says why, its cause the details."""


def main() -> None:
    """Measure what is missing, and print what there is."""
    parser, options = _options()
    with usage_errors(parser):
        reasons = JsonLines(options.results / REASONS_FILE)
    for name in options.rows:
        try:
            _measure(name, parser, options)
        except EmptyRowError as reason:
            record = {"row": name, "status": "empty", "reason": str(reason)}
            if not reasons.holds(record):
                reasons.add(record)
            details = f" ({reason.__cause__})" if reason.__cause__ else ""
            print(f"{name}: {reason}{details}", flush=True)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=tuple(TABLE_1), default=tuple(TABLE_1))
    parser.add_argument("--effort", type=Effort, choices=tuple(Effort))
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument(
        "--data",
        type=named_path,
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="an .npz or a folder of images",
    )
    parser.add_argument(
        "--embedding", type=named_value, nargs="+", default=[], metavar="NAME=FOLDER"
    )
    parser.add_argument("--download", action="store_true", help="data sets that are not at hand")
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the folder of certificates and reasons"
    )
    return parser, parser.parse_args()


def _measure(name: str, parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    on_gpu = best_compute().device.type == "cuda"
    effort = options.effort or (Effort.STANDARD if on_gpu else Effort.DRAFT)
    if NETWORKS[name] == "conv-10" and effort is not Effort.DRAFT and not on_gpu:
        raise EmptyRowError(f"{NETWORKS[name]} needs a GPU at {effort} effort, and there is none")
    settings = certificates.Settings(
        dataset=name,
        data=dict(options.data).get(name),
        effort=effort,
        change="as it is",
        epochs=None,
        output=options.results / certificates.output_name(name, effort),
        input=INPUTS.get(name) if effort is Effort.DRAFT else None,
        embedding=dict(options.embedding).get(name),
        download=options.download,
    )
    with usage_errors(parser):
        lines = _begun(settings)
    target = TABLE_1[name].params
    certificates.run(settings, lines, [target], options.seeds, options.workers)
    for line in lines.records:
        if line["target_params"] == target:
            print(_told(name, line), flush=True)


def _begun(settings: certificates.Settings) -> JsonLines:
    """Return the output; what is not at hand leaves the row empty, unless it was named."""
    try:
        return certificates.begin(settings)
    except DatasetError as error:
        if settings.data is not None:
            raise
        raise EmptyRowError("its images are not at hand; see --data and --download") from error
    except ArtifactError as error:
        if settings.embedding is not None:
            raise
        raise EmptyRowError("it has no embedding; see --embedding") from error


def _told(name: str, line: Record) -> str:
    head = f"{name}, {line['effort']}, seed {line['seed']}: "
    if "failed" in line:
        return f"{head}{line['failed']}"
    ours = f"{head}{100 * line['accuracy']:.2f}% @ {line['params']:,} parameters"
    before = line["accuracy_before"]
    return ours if before is None else f"{ours}, the input network {100 * before:.2f}%"


if __name__ == "__main__":
    main()
