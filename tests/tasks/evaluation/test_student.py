import pytest
from scipy import stats

from tasks.evaluation.student import find_student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 199, 200, 1999, 2000, 2001, 50_000])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.9848, 0.9999, 0.99999])
def test_quantile_equals_scipys(freedom: int, probability: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert find_student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-7)
