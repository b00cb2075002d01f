"""Iterators that work ahead in threads, and that group items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Sequence[T], depth: int
) -> Iterator[R]:
    """`map(work, items)` in the pool's threads, at most `depth` results ahead of the consumer."""
    queue: deque[Future[R]] = deque()
    coming = iter(items)
    while True:
        queue.extend(pool.submit(work, item) for item in islice(coming, depth - len(queue)))
        if not queue:
            return
        yield queue.popleft().result()


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last list may be shorter."""
    coming = iter(items)
    while group := list(islice(coming, size)):
        yield group
