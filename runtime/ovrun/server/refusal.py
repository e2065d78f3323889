"""An answer that is no answer: what is wrong with a request, in the form and with the HTTP codes of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from ovengines.errors import ExitCode, OVError

_STATUS_OF = {
    ExitCode.USAGE: (400, "invalid_value"),
    ExitCode.BAD_INPUT: (400, "bad_input"),
    ExitCode.LIMIT_EXCEEDED: (400, "limit_exceeded"),
    ExitCode.OUT_OF_MEMORY: (503, "out_of_memory"),
    ExitCode.INTERRUPTED: (503, "stopping"),
}


class Refusal(Exception):
    """`param` names the field that is wrong; `code` is for programs, the message for people."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def error(self) -> dict[str, object]:
        """The object that the OpenAI API calls an error."""
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, "invalid_request_error")
        if self.status >= 500:
            kind = "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.error, self.status, self.headers)


def refusal_of(error: OVError) -> Refusal:
    """What a client is told about an error of the runtime; of one that is not its own doing, no details."""
    if error.code not in _STATUS_OF:
        return Refusal(500, "the server failed to answer; its log says more", code="unexpected")
    status, code = _STATUS_OF[error.code]
    return Refusal(status, str(error), code=code)
