"""`Choice`: which of the trained networks is the result, where the best may measure too slow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from archpress_server.compress.delivery import Delivery
from archpress_server.compress.ladder import size_of
from archpress_server.compress.retrain import Trained
from archpress_server.compress.types import CompressionError, FrontModel
from archpress_server.compress.verdict import too_slow


class Choice:
    """Certifies the trained networks of a job, each once, until one keeps to the latency."""

    def __init__(self, delivery: Delivery) -> None:
        """Choose for the request of a delivery."""
        self._delivery = delivery
        self._size = size_of(delivery.request.budget)
        self._certified: dict[int, tuple[Trained, FrontModel]] = {}
        self._left_out: set[int] = set()
        self._begins = True

    def model(self, trained: Trained, place: int = 0) -> FrontModel:
        """Return a network as it is delivered; where it is not certified yet, as file at a place.

        Raises:
            CompressionError: a check of the certificate failed.
            StoppedError: the observer asked to stop.
        """
        rank = trained.candidate.rank
        if rank not in self._certified:
            begins, self._begins = self._begins, False
            model = self._delivery.certified(trained, place, begins=begins)
            self._certified[rank] = trained, model
        return self._certified[rank][1]

    def other(self, trained: Trained, place: int = 0) -> FrontModel | None:
        """Return a network as `model` does, None with a warning where its certificate fails.

        Raises:
            StoppedError: the observer asked to stop.
        """
        rank = trained.candidate.rank
        if rank in self._left_out:
            return None
        try:
            return self.model(trained, place)
        except CompressionError as error:
            self._left_out.add(rank)
            self._delivery.observer.warning(f"candidate {rank} is left out: {error}")
            return None

    def result(
        self, best: Trained, sizes: Sequence[Trained], train_next: Callable[[], Trained | None]
    ) -> Trained:
        """Return the best network, or where it is too slow the most accurate one that is not.

        The others of its size that were trained in full come first, else `train_next` trains one
        more; then what was trained for all `sizes`, as far as it is better. Where all are too slow
        it is the most accurate. Another one whose certificate fails is left out with a warning.

        Raises:
            CompressionError: a check of the certificate of the best failed.
            StoppedError: the observer asked to stop.
        """
        if not too_slow(self.model(best), self._delivery.request):
            return best
        self._delivery.observer.candidate(best.candidate)
        found = self._first_fast(best.others)
        if found is None:
            following = train_next()
            self._begins = following is not None
            found = following and self._first_fast([following])
        known = {one.candidate.rank for one in (best, *best.others)}
        rest = [one for size in sizes for one in (size, *size.others)]
        rest = [one for one in rest if one.candidate.rank not in known]
        if found is not None:
            rest = [one for one in rest if self._merit(one) > self._merit(found)]
        fast = self._first_fast(sorted(rest, key=self._merit, reverse=True)) or found
        return fast or max(
            (trained for trained, _ in self._certified.values()), key=lambda one: one.accuracy
        )

    def _first_fast(self, chances: Iterable[Trained]) -> Trained | None:
        for trained in chances:
            model = self.other(trained)
            if model is not None and not too_slow(model, self._delivery.request):
                return trained
        return None

    def _merit(self, trained: Trained) -> tuple[float, int]:
        return trained.accuracy, -self._size(trained.candidate.costs)
