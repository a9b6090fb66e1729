from dataclasses import replace

from tasks.evaluation.changes import sort_changes
from tests.tasks.evaluation.rows import make_rows


def test_examples_are_paired_by_id_and_sorted_out() -> None:
    candidate = make_rows([1.0, 1.0, 0.0, 0.0])
    opponent = make_rows([0.0, 1.0, 1.0, 0.0])[::-1]
    changes = sort_changes(candidate, opponent)
    assert [c.candidate.id for c in changes.won] == ["id0"]
    assert [c.candidate.id for c in changes.lost] == ["id2"]
    assert [c.candidate.id for c in changes.unchanged] == ["id1", "id3"]
    assert all(
        c.candidate.id == c.opponent.id for c in (*changes.won, *changes.lost, *changes.unchanged)
    )


def test_texts_change_by_likelihood() -> None:
    before = make_rows([0.0] * 3, scores={}, num_tokens=10, nll_sum=20.0)
    after = [replace(r, nll_sum=s) for r, s in zip(before, (10.0, 20.0 + 1e-9, 25.0), strict=True)]
    changes = sort_changes(after, before)
    assert [(c.candidate.id, c.gain) for c in changes.won] == [("id0", 1.0)]
    assert [(c.candidate.id, c.gain) for c in changes.lost] == [("id2", -0.5)]
    assert len(changes.unchanged) == 1
