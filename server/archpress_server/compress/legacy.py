"""What the trained input network leaves to a job's trainings: its answers, and its weights."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property

from archpress_server.compress.input_net import TrainedInput
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import count
from archpress_trainer.training.device import Compute
from archpress_trainer.training.teaching import Teacher


class Legacy:
    """A start and a teacher that all trainings of a job share; the input network stays as it is.

    `teacher_macs` are the multiply-accumulates of asking the teacher, 0 where there is none.
    """

    def __init__(
        self, source: TrainedInput, data: TrainingData, compute: Compute, *, teaches: bool = True
    ) -> None:
        """Let the input network serve trainings on the data."""
        self._source = source
        self._data = data
        self.teacher: Teacher | None = None
        self.teacher_macs = 0
        if teaches:
            network = deepcopy(source.teacher(data.normalisation)).to(compute.device)
            self.teacher = Teacher(network, compute)
            self.teacher_macs = count(source.network.architecture).macs

    @cached_property
    def start(self) -> Network:
        """The network whose strongest channels heirs begin with, on the CPU."""
        return self._source.bequeathed(self._data)
