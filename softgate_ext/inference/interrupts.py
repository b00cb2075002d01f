"""Delays Ctrl-C until a safe point, such as the end of a training step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from torch.distributed import is_torchelastic_launched


@contextmanager
def ctrl_c_waits() -> Iterator[Callable[[], bool]]:
    """Delays the first Ctrl-C; the function that it yields tells whether it came.

    A KeyboardInterrupt at an arbitrary moment may be lost in a destructor, or printed as a traceback
    by a worker process that is just starting. A second Ctrl-C interrupts at once, except under
    torchrun, which sends a Ctrl-C again to processes that already received the terminal's.

    Raises:
        KeyboardInterrupt: at the end of the block, if Ctrl-C came.
    """
    came = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and not is_torchelastic_launched():
            raise KeyboardInterrupt
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread can handle signals
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if came:
        raise KeyboardInterrupt
