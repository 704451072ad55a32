"""What each cloud says when something goes wrong, for `Proxy.fail`: the errors that its documentation lists."""

from __future__ import annotations

from tests.clouds.proxy import Fault

RESET = Fault(kind="reset")
RESET_REQUEST = Fault(kind="reset request")
RESET_RESPONSE = Fault(kind="reset response")
LOSE_ANSWER = Fault(kind="lose answer")
TRUNCATE = Fault(kind="truncate")

_SAYS = {
    "s3": {
        "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
        "unavailable": (503, "ServiceUnavailable", "Service is unable to handle request."),
        "slow down": (503, "SlowDown", "Please reduce your request rate."),
        "too many": (429, "TooManyRequests", "Please reduce your request rate."),
        "expired": (400, "ExpiredToken", "The provided token has expired."),
        "denied": (403, "AccessDenied", "Access Denied"),
        "wrong region": (301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint."),
    },
    "azure": {
        "internal": (500, "InternalError", "The server encountered an internal error. Please retry the request."),
        "unavailable": (503, "ServerBusy", "The server is currently unable to receive requests."),
        "slow down": (503, "ServerBusy", "The server is busy."),
        "too many": (429, "TooManyRequests", "The server is busy."),
        "expired": (403, "AuthenticationFailed", "Server failed to authenticate the request: token expired."),
        "denied": (403, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation."),
    },
    "gcs": {
        "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
        "unavailable": (503, "ServiceUnavailable", "Service is unable to handle request."),
        "slow down": (503, "SlowDown", "Please reduce your request rate."),
        "too many": (429, "TooManyRequests", "The rate of requests is too high."),
        "expired": (401, "AuthenticationRequired", "Invalid Credentials: the access token expired."),
        "denied": (403, "AccessDenied", "Access denied."),
    },
}


def refusal(cloud: str, what: str, *, retry_after: int | None = None) -> Fault:
    """Return the cloud's answer in case of "internal", "unavailable", "slow down", "too many", "expired", "denied" and,
    on S3, "wrong region".
    """
    status, code, message = _SAYS[cloud][what]
    headers = {"Content-Type": "application/xml"}
    if cloud == "azure":
        headers["x-ms-error-code"] = code
    if what == "wrong region":
        headers["x-amz-bucket-region"] = "eu-west-1"
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    content = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Fault(kind="answer", status=status, headers=headers, content=content.encode())
