"""What a client is told: a code for every error, the words of those that are its business."""

from __future__ import annotations

import inspect
import logging

import grpc
import pytest

from minireranker import errors
from minireranker.errors import (
    CacheError,
    CheckpointError,
    EmptyQueryError,
    MediaError,
    MinirerankerError,
    MissingDependencyError,
    NonFiniteScoreError,
    TooLongError,
    UnknownDocumentError,
)
from minireranker.serve import refusals
from minireranker.serve.failures import PUBLIC, code_of, failure_of
from minireranker.serve.grpc_codes import number_of
from minireranker.serve.refusals import (
    DeadlineError,
    ForbiddenError,
    NotReadyError,
    QueueFullError,
    UnauthenticatedError,
)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (EmptyQueryError("x"), "INVALID_ARGUMENT", 400),
        (MediaError("x"), "INVALID_ARGUMENT", 400),
        (TooLongError("x"), "INVALID_ARGUMENT", 400),
        (UnauthenticatedError("x"), "UNAUTHENTICATED", 401),
        (ForbiddenError("x"), "PERMISSION_DENIED", 403),
        (UnknownDocumentError("x"), "NOT_FOUND", 404),
        (QueueFullError("x", 2.0), "RESOURCE_EXHAUSTED", 429),
        (NonFiniteScoreError("x"), "INTERNAL", 500),
        (MissingDependencyError("x"), "UNIMPLEMENTED", 501),
        (NotReadyError("x"), "UNAVAILABLE", 503),
        (DeadlineError("x"), "DEADLINE_EXCEEDED", 504),
    ],
)
def test_errors_that_are_the_callers_business_are_told_as_they_are(
    error: MinirerankerError, code: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.status, failure.message) == (code, status, str(error))
    assert failure.error_id is None
    assert code_of(error) == code
    assert number_of(code) == grpc.StatusCode[code].value[0]
    assert failure.retry_after == (2.0 if code == "RESOURCE_EXHAUSTED" else None)
    assert caplog.records == []


@pytest.mark.parametrize(
    "error", [CacheError("/srv/secret"), CheckpointError("/srv/secret"), KeyError("/srv/secret")]
)
def test_of_all_others_the_client_gets_an_id_and_the_log_the_rest(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = failure_of(error), failure_of(error)
    assert (first.code, first.status) == ("INTERNAL", 500)
    assert "secret" not in first.message
    assert first.error_id
    assert first.error_id in first.message
    assert first.error_id != second.error_id
    record = caplog.records[0]
    assert record.levelno == logging.ERROR
    assert first.error_id in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_the_table_names_types_that_exist_and_no_base_of_all() -> None:
    known = {
        kind
        for module in (errors, refusals)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, MinirerankerError)
    }
    assert set(PUBLIC) <= known - {MinirerankerError}
    assert all(hasattr(grpc.StatusCode, code) for code, _ in PUBLIC.values())
