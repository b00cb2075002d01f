"""Rivals in processes of their own that take turns.

Each process lives until its race is over, so that no rival's pool of threads, memory or compiler disturbs
another's. The protocol on its pipe: it sends its first heatmaps once it is ready; then each RUN that
it gets is answered with the seconds of a pass, until STOP. Instead of an answer it may send a
`Failure`, after which it ends.
"""

import multiprocessing
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from benchmarks.peers import check_agreement
from benchmarks.rivals import RIVALS, Case
from softgate_ext.errors import InputError, reason

RUN, STOP = "run", "stop"
WARM_UP = 2  # passes before a process is ready; a plan is recorded in the second
PATIENCE = 600.0  # seconds that a process may take for an answer, compilers included


@dataclass(frozen=True)
class Failure:
    """Why a process could not answer."""

    says: str


def serve(pipe: Connection, name: str, case: Case, onnx: Path, busy: bool = False) -> None:
    """The life of a rival's process."""
    clock = time.process_time if busy else time.perf_counter
    try:
        torch.set_num_threads(case.threads)
        run = RIVALS[name].build(case, onnx)
        for _ in range(WARM_UP):
            heatmaps = run()
        pipe.send(torch.as_tensor(heatmaps).float().numpy())
        while pipe.recv() == RUN:
            run()  # unmeasured: brings back into the caches what the others' turns took from them
            start = clock()
            run()
            pipe.send(clock() - start)
    except EOFError:  # the race was broken off
        return
    except Exception as error:
        pipe.send(Failure(reason(error)))


class Turns:
    """A race of one case; a context, at whose end all processes have ended.

    Args:
        names: keys of RIVALS.
        case: what they compute.
        onnx: the network as a file, for those that read one.
        busy: CPU time of the process, which leaves out what other programs take of the machine and
            adds up threads, in place of time that passes.

    Raises:
        InputError: a rival fails, or its heatmaps are not the first one's.
    """

    def __init__(self, names: Sequence[str], case: Case, onnx: Path, busy: bool = False):
        self.case = case
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self._random = random.Random(0)
        self._pipes: dict[str, Connection] = {}
        self._processes: list[Any] = []
        context = multiprocessing.get_context("spawn")
        for name in names:
            self._pipes[name], other = context.Pipe()
            process = context.Process(
                target=serve, args=(other, name, case, onnx, busy), daemon=True
            )
            process.start()
            other.close()  # or the end of the process would not close the pipe
            self._processes.append(process)

    def __enter__(self) -> "Turns":
        try:
            first, *others = [(name, self._answer(name)) for name in self._pipes]
            for name, heatmaps in others:
                tolerance = RIVALS[name].tolerance
                try:
                    check_agreement(
                        name, torch.from_numpy(heatmaps), torch.from_numpy(first[1]), tolerance
                    )
                except AssertionError as error:
                    raise InputError(f"{self.case}: {error}") from None
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process, pipe in zip(self._processes, self._pipes.values(), strict=True):
            with suppress(OSError):  # it may have ended
                pipe.send(STOP)
            pipe.close()
            process.join(5)
            if process.is_alive():
                process.terminate()
                process.join()

    def round(self) -> None:
        """Every rival once, in an order drawn anew."""
        for name in self._random.sample(list(self._pipes), len(self._pipes)):
            with suppress(OSError):  # where the process has ended, the answer says so
                self._pipes[name].send(RUN)
            self.seconds[name].append(self._answer(name))

    def _answer(self, name: str) -> Any:
        pipe = self._pipes[name]
        try:
            if not pipe.poll(PATIENCE):
                raise InputError(
                    f"{name} gave no answer for {self.case} in {PATIENCE:.0f} s; leave it out with "
                    "--rivals, or take a smaller case"
                )
            answer = pipe.recv()
        except (EOFError, OSError):
            raise InputError(
                f"the process of {name} ended during {self.case}; leave it out with --rivals, or "
                "take a smaller case"
            ) from None
        if isinstance(answer, Failure):
            raise InputError(f"{name} cannot compute {self.case}: {answer.says}")
        return answer
