"""What a job must be like to be let in, whatever the load."""

from __future__ import annotations

from minireranker.engine.given import check_instruction, check_top_k
from minireranker.errors import EmptyQueryError, InputError, NoDocumentsError

from .jobs import Job, Kind
from .options import ServiceOptions

__all__ = ["check_job", "check_size"]


def check_job(job: Job, kind: Kind, options: ServiceOptions) -> None:
    """Raise ConfigurationError, InputError, EmptyQueryError or NoDocumentsError for a bad one."""
    assert job.kind == kind, f"a {job.kind} job was given to {kind}"
    check_instruction(job.instruction)
    check_top_k(job.top_k)
    check_size(kind, len(job.queries), len(job.documents), options.quota(job.tenant), options)


def check_size(
    kind: Kind, queries: int, documents: int, most: int, options: ServiceOptions
) -> None:
    """The same, of what can be told before anything is decoded. ``most``: pairs that may wait."""
    if not documents:
        raise NoDocumentsError("no documents were given; pass at least one")
    if kind == "score" and not queries:
        raise EmptyQueryError("no queries were given; pass at least one")
    if documents > options.max_documents:
        raise InputError(
            f"{documents} documents in one call: at most {options.max_documents} are allowed; "
            "split the call"
        )
    if queries > options.max_queries:
        raise InputError(
            f"{queries} queries in one call: at most {options.max_queries} are allowed; "
            "split the call"
        )
    if max(queries, 1) * documents > most:
        raise InputError(
            f"{queries} queries for {documents} documents: at most {most} pairs can wait at a "
            "time; split the call"
        )
