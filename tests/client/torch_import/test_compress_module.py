"""Modules as the network of a job, from Python and from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from archpress_client import Client, InvalidRequestError
from archpress_client.cli._app import app
from archpress_client.torch_import import onnx_bytes
from tests.client.scripted import ScriptedServer
from tests.client.torch_import.modules import head

FILE = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
        )


class Norm(nn.Sequential):
    def __init__(self):
        super().__init__(nn.LayerNorm(28), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def trained():
    return Net()


def broken():
    raise ValueError("no weights here")


net = Net()
number = 5
"""


def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *head(4))


def test_a_module_is_uploaded_with_its_weights(client: Client, server: ScriptedServer) -> None:
    job = client.compress(module(), dataset="fashion-mnist", max_params=1_000)
    assert job.name == "jobs/1"
    (sent,) = server.asked("UploadModel")
    assert sent[0].header.display_name == "Sequential"
    assert server.asked("CreateJob")[0].spec.artifact == "artifacts/up"


def test_a_plan_needs_the_layers_only(client: Client, server: ScriptedServer) -> None:
    client.plan(module(), dataset="fashion-mnist", max_params=1_000)
    assert server.asked("UploadModel") == []
    layers = server.asked("Plan")[0].spec.architecture.layers
    assert [layer.kind for layer in layers] == [1, 4, 9, 8]
    assert len(client.layers(module(), dataset="fashion-mnist").layers) == 4


def test_nothing_is_sent_of_what_cannot_be_expressed(
    client: Client, server: ScriptedServer
) -> None:
    with pytest.raises(InvalidRequestError, match="does not run on images of 1x28x28"):
        client.compress(nn.Conv2d(3, 4, 3), dataset="fashion-mnist")
    with pytest.raises(InvalidRequestError, match=r"no data set 'mnist'; there are fashion-mnist"):
        client.compress(module(), dataset="mnist")
    with pytest.raises(InvalidRequestError, match="must be a name or a Network"):
        client.compress(torch.zeros(2), dataset="fashion-mnist")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"max_params: is 0"):
        client.compress(module(), dataset="fashion-mnist", max_params=0)
    assert server.asked("UploadModel") == server.asked("CreateJob") == []


def test_the_same_weights_are_the_same_bytes_wherever_the_module_is_written(
    tmp_path: Path,
) -> None:
    files = []
    for folder, before in (("one", ""), ("other", "# A line that moves all others.")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.py"
        path.write_text(before + FILE)
        found: dict[str, Any] = {}
        exec(compile(path.read_text(), str(path), "exec"), found)
        net = found["Net"]()
        net.load_state_dict({name: torch.ones_like(v) for name, v in net.state_dict().items()})
        files.append(onnx_bytes(net, (1, 28, 28)))
    assert files[0] == files[1]
    assert b".py" not in files[0]
    assert b"stack_trace" not in files[0]


@pytest.fixture
def run(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("ARCHPRESS_SERVER", server.target)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(FILE)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return invoke


def test_a_class_in_a_file_gives_layers(run: Any, server: ScriptedServer) -> None:
    done = run("compress", "model.py:Net", "--dataset", "fashion-mnist", "--detach")
    assert done.exit_code == 0, done.output
    assert len(server.asked("CreateJob")[0].spec.architecture.layers) == 4
    assert server.asked("UploadModel") == []


@pytest.mark.parametrize("name", ["net", "trained"])
def test_objects_and_functions_give_weights_too(
    run: Any, server: ScriptedServer, name: str
) -> None:
    done = run("compress", f"model.py:{name}", "--dataset", "fashion-mnist", "--detach")
    assert done.exit_code == 0, done.output
    assert server.asked("CreateJob")[0].spec.artifact == "artifacts/up"


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("none.py:Net", "there is no file none.py"),
        ("model.py:Other", "model.py has no 'Other'; it has torch, nn, Net, Norm, trained"),
        ("model.py:number", "number in model.py gives a int, not a torch.nn.Module"),
        ("model.py:broken", "broken() fails: ValueError: no weights here"),
        ("model.py:Norm", "0 (layer_norm): cannot be expressed; known are"),
        ("wrong.py:Net", "wrong.py fails: SyntaxError"),
        ("model.txt:Net", "there is no file model.txt"),
    ],
)
def test_bad_files_are_told_in_a_line(
    run: Any, server: ScriptedServer, tmp_path: Path, argument: str, text: str
) -> None:
    (tmp_path / "wrong.py").write_text("class:")
    done = run("plan", argument, "--dataset", "fashion-mnist")
    assert done.exit_code == 2
    assert text in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.output
    assert server.asked("Plan") == []
