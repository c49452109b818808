"""Ways to find a small network, ours and others': each spends the same number of trainings.

A way is a function of a `Problem` that calls `problem.trial` for every network that it wants
trained and hears the validation accuracy. All of them may use the surrogate, which costs no
training; what they look at beside it is said at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from archpress_server.compress.decode import Pool, SearchSettings, diverse, search_nearby
from archpress_server.compress.descent import DescentSettings
from archpress_server.compress.planning import plan
from archpress_server.compress.search import PAPER_SETTINGS, PlanSettings
from archpress_server.compress.types import Budget, Request
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.neighbours import neighbour
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.widths import SizeBudget, fit_widths

_SCREENED = 30_000
"""Free samples that screening scores, as many as the pilot's."""

_FITTED = 3_000
"""Samples that are scored after their widths were fitted, about as many as ours scores."""

_USED = 0.5
"""Share of the budget that a random network must use at least: smaller ones are seldom better."""


@dataclass
class Problem:
    """A network to compress, a budget, and so many trainings to spend."""

    embedding: Embedding
    paper: Embedding
    network: Architecture
    budget: SizeBudget
    candidates: int
    seed: int
    trial: Callable[[Architecture], float]

    def request(self) -> Request:
        """Return the problem as the server's request."""
        limits = Budget(max_params=self.budget.max_params, max_macs=self.budget.max_macs)
        return Request(self.network, self.embedding.manifest.dataset, limits, seed=self.seed)

    def samples(self) -> Iterator[Architecture]:
        """Yield networks of the population's sampler, the largest about the budget's size."""
        space = self.embedding.manifest.space
        window = Window(2_000, self.budget.max_params or space.max_params)
        for sample in draw(PracticalSampler(space, window), Random(self.seed)):
            yield sample.architecture

    def try_all(self, networks: Iterable[Architecture]) -> None:
        """Spend all trainings on the first of these networks."""
        for network in islice(networks, self.candidates):
            self.trial(network)


def latent_descent(problem: Problem, settings: PlanSettings | None = None) -> None:
    """Search as the server does, or with other settings."""
    found = plan(problem.request(), problem.embedding, problem.candidates, settings=settings)
    problem.try_all(candidate.architecture for candidate in found.candidates)


def paper_method(problem: Problem) -> None:
    """Descend in the paper's embedding, fitted on the same labels, and train what it decodes to.

    The paper trains one network; for the same number of trainings there are more starts.
    """
    settings = replace(PAPER_SETTINGS, starts=64, smallest=True)
    found = plan(problem.request(), problem.paper, problem.candidates, settings=settings)
    problem.try_all(candidate.architecture for candidate in found.candidates)


def plain_descent(problem: Problem) -> None:
    """Descend as the paper does, in our embedding, with decodes fitted to the budget."""
    settings = PlanSettings(
        starts=48,
        known=0,
        descent=DescentSettings(steps=100, caution=0.0),
        search=SearchSettings(rounds=0, parents=0, children=0),
    )
    latent_descent(problem, settings)


def random_search(problem: Problem) -> None:
    """Train random networks that keep to the budget and use half of it."""
    problem.try_all(
        network
        for network in problem.samples()
        if problem.budget.holds(costs := count(network)) and problem.budget.used(costs) >= _USED
    )


def screening(problem: Problem) -> None:
    """Train the best of 30,000 free samples by the surrogate's lower bound, of other outlines."""
    pool = Pool(problem.embedding, problem.budget, fit_widths=False)
    pool.add(islice(problem.samples(), _SCREENED))
    problem.try_all(s.architecture for s in diverse(pool.best(len(pool)), problem.candidates))


def fitted_screening(problem: Problem) -> None:
    """Train the best of 3,000 samples whose widths were fitted to the budget."""
    pool = Pool(problem.embedding, problem.budget)
    pool.add(islice(problem.samples(), _FITTED))
    problem.try_all(s.architecture for s in diverse(pool.best(len(pool)), problem.candidates))


def width_scaling(problem: Problem) -> None:
    """Scale the input network's widths to the budget; there is one such network."""
    fitted = fit_widths(problem.network, problem.budget)
    if fitted is not None:
        problem.try_all([fitted] * problem.candidates)


def local_search(problem: Problem) -> None:
    """Mutate from the scaled input network, keeping the best by the surrogate, ten rounds."""
    pool = Pool(problem.embedding, problem.budget)
    pool.add([problem.network])
    search_nearby(problem.embedding, pool, SearchSettings(), Random(problem.seed))
    problem.try_all(s.architecture for s in diverse(pool.best(len(pool)), problem.candidates))


def evolution(problem: Problem) -> None:
    """Evolve by trainings alone (Real et al. 2019): tournaments of two, the oldest of three dies.

    The first three are the population's best, fitted to the budget; the surrogate has no say.
    """
    rng = Random(problem.seed)
    space = problem.embedding.manifest.space
    known = sorted(problem.embedding.exemplars, key=lambda exemplar: -exemplar.accuracy)
    fits = (fit_widths(exemplar.architecture, problem.budget) for exemplar in known)
    first = [net for net in islice(fits, 30) if net is not None][: problem.candidates // 2]
    alive = [(problem.trial(net), net) for net in first]
    for _ in range(problem.candidates - len(first)):
        child = None
        while child is None:
            parent = max(rng.sample(alive, 2), key=lambda entry: entry[0])[1]
            mutant = neighbour(parent, space, rng)
            child = fit_widths(mutant, problem.budget) if mutant else None
        alive = [*alive[1:], (problem.trial(child), child)]


Way = Callable[[Problem], None]

OURS = "latent descent"
OURS_NOW = {"starts": PlanSettings().starts, "steps": PlanSettings().descent.steps}
"""What our search is today; lines of another are not compared with it."""

RIVALS: Mapping[str, Way] = {
    "the paper's method": paper_method,
    "plain descent": plain_descent,
    "random search": random_search,
    "screening": screening,
    "screening, widths fitted": fitted_screening,
    "width scaling": width_scaling,
    "local search": local_search,
    "evolution": evolution,
}


def _without(name: str) -> Way:
    settings = ABLATED[name]
    return lambda problem: latent_descent(problem, settings)


ABLATED: Mapping[str, PlanSettings] = {
    "without descent": PlanSettings(descent=DescentSettings(steps=0)),
    "without the population's best": PlanSettings(known=0),
    "without changes nearby": PlanSettings(search=SearchSettings(rounds=0)),
    "without fitted widths": PlanSettings(search=SearchSettings(fit_widths=False)),
    "without caution": PlanSettings(descent=DescentSettings(caution=0.0)),
    "with one start": PlanSettings(starts=1),
    "without choosing together": PlanSettings(together=False),
}
"""What our search is without each of its ingredients."""

ABLATIONS: Mapping[str, Way] = {name: _without(name) for name in ABLATED}
WAYS: Mapping[str, Way] = {OURS: latent_descent, **RIVALS, **ABLATIONS}
