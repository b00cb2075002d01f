"""Ctrl-C that waits for a good moment."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from torch.distributed import is_torchelastic_launched


@contextmanager
def ctrl_c_waits() -> Iterator[Callable[[], bool]]:
    """Holds the first Ctrl-C back and says whether it came; the second one interrupts at once.

    Not so under torchrun, which hands the terminal's Ctrl-C on to processes that had it already.
    A KeyboardInterrupt at any odd moment would be lost in a destructor, or printed as a traceback
    by a worker process that has only just begun.
    """
    came = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and not is_torchelastic_launched():
            raise KeyboardInterrupt
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came:
        raise KeyboardInterrupt
