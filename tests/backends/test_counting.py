"""Which visits count."""

from __future__ import annotations

import pytest

from backends.counting import Counted, Visited, counted
from backends.samples import Visit, estimate_of


@pytest.mark.parametrize(
    ("clean", "expected"),
    [
        ((True, True, True), Counted(values=(1.0, 2.0, 3.0))),
        ((True, False, True), Counted(values=(1.0, 3.0), left_out=1)),
        ((True, False, False), Counted(values=(1.0, 2.0, 3.0), flagged=True)),
        ((False, False, False), Counted(values=(1.0, 2.0, 3.0), flagged=True)),
    ],
)
def test_clean_visits_count_unless_there_are_too_few(clean: tuple[bool, ...], expected: Counted) -> None:
    assert counted((1.0, 2.0, 3.0), clean) == expected


def test_few_visits_are_no_flagged_ones() -> None:
    assert counted((), ()) == Counted(values=())
    assert counted((1.0,), (True,)) == Counted(values=(1.0,))
    assert counted((1.0,), (False,)) == Counted(values=(1.0,), flagged=True)


def test_every_visit_has_a_word_on_whether_it_is_clean() -> None:
    with pytest.raises(ValueError):
        counted((1.0, 2.0), (True,))


def test_visits_as_they_come() -> None:
    visited = Visited.all_clean([1.0, 2.0])
    visited.add(3.0, False)
    assert len(visited) == 3
    assert visited.counted == Counted(values=(1.0, 2.0), left_out=1)


def test_an_estimate_says_what_it_rests_on() -> None:
    found = estimate_of(Counted(values=(2.0, 2.1, 1.9), left_out=4)).scaled(3.0)
    assert (found.visits, found.left_out, found.flagged) == (3, 4, False)
    assert found.value == pytest.approx(6.0, rel=0.01)
    assert estimate_of(Counted(values=(2.0,), flagged=True)).flagged


@pytest.mark.parametrize(
    ("flags", "observed", "clean"),
    [
        ((), {"observed_ms": 1.0}, True),
        (("disturbed", "noisy"), {"observed_ms": 1.0}, True),
        (("throttled",), {"observed_ms": 1.0}, False),
        (("contended", "noisy"), {"observed_ms": 1.0}, False),
        # Rows of before there were observers, and values that came with flags of their own.
        (("throttled",), None, True),
    ],
)
def test_a_visit_is_clean_unless_it_was_seen_not_to_be(
    flags: tuple[str, ...], observed: dict[str, float] | None, clean: bool
) -> None:
    visit = Visit(
        round=0, elapsed_ms=(1.0,), reference_ms=(1.0, 1.0), repeats=1, warmup=0, flags=flags, observed=observed
    )
    assert visit.clean is clean
