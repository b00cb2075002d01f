"""Where a page is that the tests look at."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """Where the page is, the run it serves, and the process."""

    port: int
    run: Path
    files: Path
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"
