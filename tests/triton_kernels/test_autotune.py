"""The search for tiles, and the file that stores its results."""

import json
import threading

import pytest
import torch
from softgate_ext.triton_kernels import LAUNCHERS, autotune, launch
from softgate_ext.triton_kernels.launch import Tile

bn_relu = LAUNCHERS["bn_relu"]
BEST = Tile(2, 8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTGATE_CACHE", str(tmp_path))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """As a new process starts."""
    autotune._known.clear()
    autotune._file.cache_clear()


class Op:
    """An op that notes its calls and takes least time with BEST."""

    def __init__(self):
        self.tiles: list = []

    def __call__(self, *args):
        self.tiles.append(launch._state.tiles)
        return "result"

    def measure(self, call, device) -> float:
        call()
        return sum(1.0 + (tile != BEST) for tile in self.tiles[-1].values())


def search(op: Op, *args):
    return autotune.best("op", op, args, op.measure)


def test_finds_the_fastest_of_each_pass(cache):
    op = Op()
    assert search(op, torch.ones(1, 2, 3, 4)) == {"reduce": BEST, "stream": BEST}
    assert len(op.tiles) == 2 * len(autotune.CANDIDATES)


def test_file_is_reused_by_a_later_process(cache):
    x = torch.ones(1, 2, 3, 4)
    found = search(Op(), x)
    (file,) = cache.iterdir()
    assert list(json.loads(file.read_text())) == ["op(float32[1,2,3,4])"]
    forget()
    later = Op()
    assert search(later, x) == found
    assert not later.tiles


def test_other_arguments_are_searched_for_themselves(cache):
    x = torch.ones(1, 2, 3, 4)
    op = Op()
    kinds = [
        (x,), (x.bfloat16(),), (x.contiguous(memory_format=torch.channels_last),),
        (x[:, :1],), (x, None), (x, [x]), (x, True), (x, False),
    ]  # fmt: skip
    for args in kinds:
        search(op, *args)
    assert len(op.tiles) == 2 * len(autotune.CANDIDATES) * len(kinds)


def entry(reduce: str, rest: str = "") -> str:
    return f'{{"op(float32[1,2,3,4])": {{"reduce": {reduce}{rest}}}}}'


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", entry("3"), entry("[2, 4]"), entry("[2, 3]", ', "stream": [2, 4]'),
        entry('["a", 4]', ', "stream": [2, 4]'), entry("[2, 4]", ', "other": [2, 4]'),
    ],
)  # fmt: skip
def test_damaged_file_is_searched_anew(cache, content):
    x = torch.ones(1, 2, 3, 4)
    (cache / autotune._file(x.device)).write_text(content)
    assert search(Op(), x) == {"reduce": BEST, "stream": BEST}
    forget()
    later = Op()
    search(later, x)
    assert not later.tiles


def test_results_of_another_process_are_kept(cache):
    x = torch.ones(1, 2, 3, 4)
    search(Op(), x)
    mine = autotune._known.copy()
    forget()
    search(Op(), x[:, :1])
    autotune._known.clear()
    autotune._known.update(mine)  # the first process, which does not know of the second
    search(Op(), x, x)
    (file,) = cache.iterdir()
    assert len(json.loads(file.read_text())) == 3


def test_nothing_half_written(cache, monkeypatch):
    """A run that dies while it writes leaves the file as it was."""
    x = torch.ones(1, 2, 3, 4)
    search(Op(), x)
    (file,) = cache.iterdir()
    before = file.read_text()

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(autotune.os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        search(Op(), x, x)
    assert file.read_text() == before
    assert list(cache.iterdir()) == [file]


def test_folder_that_cannot_be_written(cache, monkeypatch):
    monkeypatch.setenv("SOFTGATE_CACHE", "/proc/none")
    forget()
    with pytest.warns(UserWarning, match="not remembered"):
        assert search(Op(), torch.ones(1, 2, 3, 4))["reduce"] == BEST


def test_user_without_a_home(cache, monkeypatch):
    """As in a container: SOFTGATE_CACHE serves, and without it nothing is remembered."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(autotune.Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    search(Op(), torch.ones(1, 2, 3, 4))
    assert len(list(cache.iterdir())) == 1
    monkeypatch.delenv("SOFTGATE_CACHE")
    forget()
    with pytest.warns(UserWarning, match="not remembered.*no home folder; SOFTGATE_CACHE names"):
        assert search(Op(), torch.ones(1, 2, 3, 4))["reduce"] == BEST


def test_threads_search_once(cache):
    op, x = Op(), torch.ones(1, 2, 3, 4)
    threads = [threading.Thread(target=search, args=(op, x)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(op.tiles) == 2 * len(autotune.CANDIDATES)


def test_tiles_belong_to_a_thread():
    seen = []
    with launch.use_tiles({"reduce": BEST}):
        thread = threading.Thread(target=lambda: seen.append(launch._state.tiles))
        thread.start()
        thread.join()
    assert seen == [None]


def test_kernels_with_every_candidate(cache, device):
    """Real launches: results within rounding, whichever tile is taken."""
    x = torch.randn(2, 4, 6, 6, device=device)
    args = (x, None, None, None, None, True, 1e-5, True)
    want = bn_relu(*args)[0]
    for tile in autotune.CANDIDATES:
        with launch.use_tiles({"reduce": tile, "stream": tile}):
            torch.testing.assert_close(bn_relu(*args)[0], want)
    tuned = autotune.tuned("bn_relu", bn_relu)
    torch.testing.assert_close(tuned(*args)[0], want)
    assert len(list(cache.iterdir())) == 1
