"""What to build, and who is told of the progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings, FitStep
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.population.run import Tally


@dataclass(frozen=True)
class BuildSettings:
    """What to build: the number of nets and how each part is fitted.

    The first `repeats` of them are trained a second time, which tells how much noise is in a label.
    `also` names embeddings of the same data and labels, whose labelled nets the heads learn from
    too.
    """

    nets: int
    method: EmbeddingMethod = EmbeddingMethod.DEFAULT
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    paper: PaperSettings = field(default_factory=PaperSettings)
    repeats: int = 0
    also: tuple[str, ...] = ()
    sampling_workers: int = 2
    unseen_nets: int = 4_000

    def __post_init__(self) -> None:
        """Bound `repeats` by the nets that there are to repeat."""
        object.__setattr__(self, "repeats", min(self.repeats, self.nets))


@dataclass(frozen=True)
class BuildObserver:
    """Callbacks for progress; each may be None."""

    on_label: Callable[[Tally], None] | None = None
    on_repeat: Callable[[Tally], None] | None = None
    on_autoencoder: Callable[[FitStep], None] | None = None
    on_paper: Callable[[int, float], None] | None = None
