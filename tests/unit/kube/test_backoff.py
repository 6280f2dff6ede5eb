from pgoperator.kube.backoff import JITTER, Backoff, pause


def test_doubles_up_to_the_cap() -> None:
    pauses = [pause(n, first=1, cap=5, jitter=lambda _, high: high) for n in (1, 2, 3, 4, 5000)]
    assert pauses == [1, 2, 4, 5, 5]


def test_jitter_never_makes_it_longer() -> None:
    assert pause(1, first=1, cap=5, jitter=lambda low, _: low) == 1 - JITTER


def test_begins_anew_after_a_success() -> None:
    backoff = Backoff(1, 100)
    for _ in range(5):
        backoff.next()
    assert backoff.next() > 20
    backoff.reset()
    assert backoff.next() <= 1
