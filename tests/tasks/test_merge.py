import math

import pytest

from configs.errors import RunError
from tasks.merge import check_nll


def test_a_merge_that_keeps_the_model_passes() -> None:
    check_nll(0.170, 0.171, 0.01)
    check_nll(0.171, 0.170, 0.01)


@pytest.mark.parametrize("after", [0.418, 0.05, math.nan, math.inf])
def test_a_merge_that_makes_another_model_is_refused(after: float) -> None:
    with pytest.raises(RunError, match=r"the merge moved the NLL from 0.1700 to"):
        check_nll(0.170, after, 0.01)
