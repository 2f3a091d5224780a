from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Media(_message.Message):
    __slots__ = ("data", "uri")
    DATA_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    uri: str
    def __init__(self, data: _Optional[bytes] = ..., uri: _Optional[str] = ...) -> None: ...

class Frames(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Media]
    def __init__(self, frames: _Optional[_Iterable[_Union[Media, _Mapping]]] = ...) -> None: ...

class Video(_message.Message):
    __slots__ = ("file", "frames")
    FILE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    file: Media
    frames: Frames
    def __init__(self, file: _Optional[_Union[Media, _Mapping]] = ..., frames: _Optional[_Union[Frames, _Mapping]] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("texts", "images", "videos")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    images: _containers.RepeatedCompositeFieldContainer[Media]
    videos: _containers.RepeatedCompositeFieldContainer[Video]
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., images: _Optional[_Iterable[_Union[Media, _Mapping]]] = ..., videos: _Optional[_Iterable[_Union[Video, _Mapping]]] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("id", "content")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    content: Content
    def __init__(self, id: _Optional[str] = ..., content: _Optional[_Union[Content, _Mapping]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_ns", "inputs_ns", "prefix_ns", "suffix_ns", "total_ns")
    QUEUE_NS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_NS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_NS_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_NS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NS_FIELD_NUMBER: _ClassVar[int]
    queue_ns: int
    inputs_ns: int
    prefix_ns: int
    suffix_ns: int
    total_ns: int
    def __init__(self, queue_ns: _Optional[int] = ..., inputs_ns: _Optional[int] = ..., prefix_ns: _Optional[int] = ..., suffix_ns: _Optional[int] = ..., total_ns: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("tokens_computed", "tokens_cached")
    TOKENS_COMPUTED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_CACHED_FIELD_NUMBER: _ClassVar[int]
    tokens_computed: int
    tokens_cached: int
    def __init__(self, tokens_computed: _Optional[int] = ..., tokens_cached: _Optional[int] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("index", "id", "code", "message", "query")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    code: int
    message: str
    query: int
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., query: _Optional[int] = ...) -> None: ...

class IndexRequest(_message.Message):
    __slots__ = ("document", "instruction")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    document: Document
    instruction: str
    def __init__(self, document: _Optional[_Union[Document, _Mapping]] = ..., instruction: _Optional[str] = ...) -> None: ...

class IndexResult(_message.Message):
    __slots__ = ("index", "id", "failure", "timings", "usage")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    failure: Failure
    timings: Timings
    usage: Usage
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("query", "documents", "top_k", "instruction", "return_documents")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    RETURN_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    query: Content
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    top_k: int
    instruction: str
    return_documents: bool
    def __init__(self, query: _Optional[_Union[Content, _Mapping]] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., top_k: _Optional[int] = ..., instruction: _Optional[str] = ..., return_documents: _Optional[bool] = ...) -> None: ...

class RankedDocument(_message.Message):
    __slots__ = ("index", "id", "score", "probability", "document")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    score: float
    probability: float
    document: Document
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., score: _Optional[float] = ..., probability: _Optional[float] = ..., document: _Optional[_Union[Document, _Mapping]] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("results", "failures", "timings", "usage")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RankedDocument]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    timings: Timings
    usage: Usage
    def __init__(self, results: _Optional[_Iterable[_Union[RankedDocument, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("queries", "documents", "instruction")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Content]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    instruction: str
    def __init__(self, queries: _Optional[_Iterable[_Union[Content, _Mapping]]] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., instruction: _Optional[str] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("queries", "documents", "scores", "failures", "timings", "usage")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    queries: int
    documents: int
    scores: _containers.RepeatedScalarFieldContainer[float]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    timings: Timings
    usage: Usage
    def __init__(self, queries: _Optional[int] = ..., documents: _Optional[int] = ..., scores: _Optional[_Iterable[float]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class RerankBatchRequest(_message.Message):
    __slots__ = ("tag", "request")
    TAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    tag: int
    request: RerankRequest
    def __init__(self, tag: _Optional[int] = ..., request: _Optional[_Union[RerankRequest, _Mapping]] = ...) -> None: ...

class RerankBatchResponse(_message.Message):
    __slots__ = ("tag", "response", "error")
    TAG_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tag: int
    response: RerankResponse
    error: Error
    def __init__(self, tag: _Optional[int] = ..., response: _Optional[_Union[RerankResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "retry_after_seconds")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    retry_after_seconds: float
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...

class EvictRequest(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class EvictResponse(_message.Message):
    __slots__ = ("evicted",)
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    evicted: int
    def __init__(self, evicted: _Optional[int] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "model", "profile", "device", "dtype", "max_documents", "max_queries", "queue_documents", "max_tokens", "waiting_documents", "ready")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    MAX_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_QUERIES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WAITING_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    version: str
    model: str
    profile: str
    device: str
    dtype: str
    max_documents: int
    max_queries: int
    queue_documents: int
    max_tokens: int
    waiting_documents: int
    ready: bool
    def __init__(self, version: _Optional[str] = ..., model: _Optional[str] = ..., profile: _Optional[str] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., max_documents: _Optional[int] = ..., max_queries: _Optional[int] = ..., queue_documents: _Optional[int] = ..., max_tokens: _Optional[int] = ..., waiting_documents: _Optional[int] = ..., ready: _Optional[bool] = ...) -> None: ...
