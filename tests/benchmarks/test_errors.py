"""The program that compares the rounding errors of the kernels with those of eager PyTorch."""

import numpy as np
import pytest

from benchmarks import errors
from softgate_ext.ops.backend import is_available

pytestmark = [
    pytest.mark.skipif(not is_available("cpu"), reason="needs the compiled CPU kernels"),
    pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs 80-bit floats"),
]


@pytest.fixture(scope="module")
def found():
    return errors.measure((0.0, 30.0, 1000.0), seeds=1)


def test_the_kernels_round_no_more_than_eager(found):
    worse = {
        key: medians
        for key, pairs in found.items()
        if (medians := np.median(pairs, axis=0))[0] > 1.1 * medians[1]
    }
    assert not worse


def test_statistics_are_exact_up_to_their_own_rounding(found):
    for mean in (0.0, 30.0, 1000.0):
        assert found["running_var", mean][:, 0].max() < 1.1
        assert found["dbias", mean][:, 0].max() < 4


def test_an_error_is_told_in_eps():
    case = next(errors.cases((1.0,), 1))
    given = errors.inputs_of(case)
    got = errors.rounded(case, given)
    want = errors.exact(case, given, got["y"])
    got["dbias"] = got["dbias"] + 100 * 2.0**-23 * float(np.abs(want["dbias"]).max())
    assert 90 < errors.errors(got, want)["dbias"] < 110
