"""TokenReview and SubjectAccessReview: the user of a token and the user's permissions."""

import orjson

from pgoperator.kube.client import Client
from pgoperator.kube.manifest import Manifest
from pgoperator.kube.transport import Request

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


async def user_of(client: Client, token: str) -> Manifest | None:
    """Return the user in a TokenReview, None for an invalid token; ApiError from the server."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = await _review(client, TOKENS, review)
    user: Manifest = status.get("user") or {}
    return user if status.get("authenticated") else None


async def may_get(client: Client, user: Manifest, path: str) -> bool:
    """Return whether RBAC allows `user` to get a non-resource path; ApiError from the server."""
    spec = {
        "user": user.get("username", ""),
        "groups": user.get("groups", []),
        "uid": user.get("uid", ""),
        "extra": user.get("extra", {}),
        "nonResourceAttributes": {"path": path, "verb": "get"},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return bool((await _review(client, ACCESS, review)).get("allowed"))


async def _review(client: Client, path: str, review: Manifest) -> Manifest:
    """Send a review; the server stores nothing, so the request can be retried."""
    response = await client.transport.json(Request("POST", path, "POST", body=orjson.dumps(review)))
    status: Manifest = response.get("status") or {}
    return status
