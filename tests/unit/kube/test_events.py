"""An Event that could not be posted is posted when its state is reported again."""

from typing import Any, Literal

import pytest

from pgoperator.kube.errors import ApiError, Unreachable, from_status
from pgoperator.kube.events import Recorder

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
}


class Server:
    """Answers creations with `errors`, then accepts them."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.posts = 0

    async def create(self, manifest: Any) -> Any:
        self.posts += 1
        if self.errors:
            raise self.errors.pop(0)
        return manifest


@pytest.mark.parametrize(
    ("error", "posts"),
    [
        (Unreachable("no response"), 2),
        (from_status(503, "", ""), 2),
        (from_status(429, "", ""), 2),
        (from_status(403, "", ""), 1),  # it would be refused in every pass
        (from_status(404, "", ""), 1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failed_post_is_repeated_with_the_next_report(error: ApiError, posts: int) -> None:
    server = Server(error)
    recorder = Recorder(server)  # type: ignore[arg-type]
    for _ in range(3):
        recorder.event(POD, type="Warning", reason="Broken", message="it is broken")
        await recorder.close()
    assert server.posts == posts


async def test_a_warning_is_posted_although_a_normal_event_has_its_words() -> None:
    server = Server(from_status(403, "", ""))
    recorder = Recorder(server)  # type: ignore[arg-type]
    kinds: tuple[Literal["Normal", "Warning"], ...] = ("Normal", "Warning", "Warning")
    for kind in kinds:
        recorder.event(POD, type=kind, reason="NotReady", message="no primary")
        await recorder.close()
    assert server.posts == 2
