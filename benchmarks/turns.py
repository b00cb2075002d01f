"""Measures rivals in turns, each in a process of its own.

With a process for each rival, the threads, the memory and the compiler of one do not disturb another. A process
first sends its heatmaps through its pipe, when it is ready. Then it answers each RUN with the seconds of a pass,
until it gets STOP. Instead of an answer it may send a `Failure`, after which it ends.
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
WARM_UP = 2  # passes before a process is ready: the second one records the inference plan
PATIENCE = 600.0  # seconds that a process may take for an answer, compilers included


@dataclass(frozen=True)
class Failure:
    """The answer of a process that failed, with the reason."""

    says: str


def serve(pipe: Connection, name: str, case: Case, onnx: Path, busy: bool = False) -> None:
    """The main function of a rival's process."""
    clock = time.process_time if busy else time.perf_counter
    try:
        torch.set_num_threads(case.threads)
        run = RIVALS[name].build(case, onnx)
        for _ in range(WARM_UP):
            heatmaps = run()
        pipe.send(torch.as_tensor(heatmaps).float().numpy())
        while pipe.recv() == RUN:
            run()  # not measured: it fills the caches again after the turns of the others
            start = clock()
            run()
            pipe.send(clock() - start)
    except EOFError:  # the race was stopped
        return
    except Exception as error:
        pipe.send(Failure(reason(error)))


class Turns:
    """A race of one case. It is a context, and all processes have ended when it is left.

    Args:
        names: keys of RIVALS.
        case: the case to compute.
        onnx: the ONNX file of the network, for the rivals that read one.
        busy: count the CPU time of the process instead of wall time. It does not count other
            programs, and adds up the threads.

    Raises:
        InputError: a rival fails, or its heatmaps differ from those of the first rival.
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
            other.close()  # otherwise the end of the process would not close the pipe
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
        """Measures every rival once, in random order."""
        for name in self._random.sample(list(self._pipes), len(self._pipes)):
            with suppress(OSError):  # where the process has ended, `_answer` raises the error
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
