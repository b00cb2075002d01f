"""What `make sanitize-threads` puts before each file: a race is reported, and sound work is not."""

import shutil
import subprocess
from pathlib import Path

import pytest
from torch.utils.cpp_extension import include_paths, library_paths

HEADER = Path(__file__).with_name("threads_seen.h")
PROGRAM = """
#include <ATen/Parallel.h>
#include <vector>

int main() {
  at::set_num_threads(2);
  std::vector<int64_t> values(1000);
  for (int round = 0; round < 3; ++round) {
    at::parallel_for(0, 1000, 1000, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[PLACE] += i;
    });
    ++values[999];
  }
}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize(("place", "code"), [("i", 0), ("0", 66)])
def test_a_race_is_reported(place: str, code: int, tmp_path: Path) -> None:
    source, program = tmp_path / "a.cpp", tmp_path / "a"
    source.write_text(PROGRAM)
    words = ["g++", "-std=c++20", "-O1", "-fopenmp", "-fsanitize=thread", "-include", str(HEADER)]
    words += [f"-DPLACE={place}", *(f"-I{path}" for path in include_paths()), str(source)]
    for path in library_paths():
        words += [f"-L{path}", f"-Wl,-rpath,{path}"]
    words += ["-ltorch_cpu", "-lc10", "-o", str(program)]
    built = subprocess.run(words, capture_output=True, text=True)
    if "cannot find" in built.stderr and "tsan" in built.stderr:
        pytest.skip("needs ThreadSanitizer's library")
    assert built.returncode == 0, built.stderr
    environment = {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1 exitcode=66"}
    done = subprocess.run([program], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    assert ("data race" in done.stderr) == bool(code)
