"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from archpress_client._client import Client
from archpress_client._config import Retry, Tls
from archpress_client._download import check_place
from archpress_client._latency_table import LatencyTable
from archpress_client._types import Effort, JobState, Method

DEFAULT_SERVER = "localhost:50051"


def _choices(kind: type[StrEnum]) -> str:
    return f"[{'|'.join(member for member in kind if member.name != 'UNKNOWN')}]"


Server = Annotated[
    str, typer.Option(envvar="ARCHPRESS_SERVER", metavar="HOST:PORT", help="Where the server is.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", envvar="ARCHPRESS_INSECURE", help="Do without TLS.")
]
Ca = Annotated[
    Path | None,
    typer.Option(envvar="ARCHPRESS_CA", help="PEM file of the certificates to trust."),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--cert", envvar="ARCHPRESS_CERT", help="PEM file of your own certificate, with --key."
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(envvar="ARCHPRESS_KEY", help="PEM file of that certificate's key."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="Name of a network, NET.json with layers, MODEL.onnx, or FILE.py:NAME of torch.",
    ),
]
Dataset = Annotated[str, typer.Option(help="Name of a data set of the server.")]
MaxParams = Annotated[int | None, typer.Option(help="Largest number of parameters.")]
MaxParamsRatio = Annotated[
    float | None, typer.Option(help="The same as a fraction of the input network's.")
]
MaxMacs = Annotated[int | None, typer.Option(help="Largest number of multiply-accumulates.")]
MaxMacsRatio = Annotated[
    float | None, typer.Option(help="The same as a fraction of the input network's.")
]
MaxLatencySeconds = Annotated[
    float | None, typer.Option(help="Largest time for one image, on the server or by the table.")
]
LatencyTableFile = Annotated[
    Path | None,
    typer.Option("--latency-table", metavar="FILE.json", help="Your own device, layer by layer."),
]
MinAccuracy = Annotated[float | None, typer.Option(help="Smallest test accuracy, 0 to 1.")]
MaxAccuracyDrop = Annotated[
    float | None, typer.Option(help="Largest loss of accuracy; 0.01 is one point.")
]
EffortOption = Annotated[
    Effort, typer.Option("--effort", metavar=_choices(Effort), help="How much to train.")
]
MethodOption = Annotated[
    Method, typer.Option("--method", metavar=_choices(Method), help="Embedding and objective.")
]
State = Annotated[
    list[JobState] | None,
    typer.Option(metavar=_choices(JobState), help="Only jobs in this state; may be repeated."),
]
Seed = Annotated[int, typer.Option(help="Seed of all random choices.")]
JobName = Annotated[str, typer.Argument(metavar="NAME", help="jobs/{id}, or just the id.")]
Out = Annotated[
    Path | None,
    typer.Option(help="File to write the trained network to (ONNX); others of the job go beside."),
]


def connect(
    server: str, insecure: bool, ca: Path | None, certificate: Path | None, key: Path | None
) -> Client:
    """Return a client; the token comes from ARCHPRESS_TOKEN, where nobody sees it passing."""
    if (certificate is None) != (key is None):
        hint = "--cert" if certificate is None else "--key"
        raise typer.BadParameter("is missing: a certificate needs its key", param_hint=hint)
    files = ca or certificate
    return Client(
        server,
        insecure=insecure,
        tls=Tls.from_files(root=ca, certificate=certificate, key=key) if files else None,
        token=os.environ.get("ARCHPRESS_TOKEN"),
        retry=Retry(request_attempts=3),
    )


def read_latency_table(path: Path | None) -> LatencyTable | None:
    """Return the table of a JSON file, if one is given."""
    if path is None:
        return None
    try:
        return LatencyTable.load(path)
    except OSError as error:
        text = f"{path}: {error.strerror}"
        raise typer.BadParameter(text, param_hint="--latency-table") from None


def check_out(path: Path | None) -> None:
    """Refuse a file that could not be written, before a job is made for it."""
    if path is None:
        return
    try:
        check_place(path)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        raise typer.BadParameter(text, param_hint="--out") from None


def read_labels(pairs: list[str]) -> dict[str, str]:
    """Return KEY=VALUE pairs as a mapping."""
    labels = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels
