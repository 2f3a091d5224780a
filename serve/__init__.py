"""The sidecar: one model behind gRPC and HTTP, one queue, one worker thread.

    gRPC, HTTP -> Job -> Service -> Queue -> Batcher -> engine_calls (worker thread) -> Outcome

Nothing is imported here: each module imports what it needs, and grpc, FastAPI and prometheus_client
come with extras.
"""
