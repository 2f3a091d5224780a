"""The sidecar: one model behind gRPC and HTTP, one queue, an engine in a process of its own.

    gRPC, HTTP -> Job -> Service -> Queue -> Batcher -> Engine (engine_calls, over there) -> Outcome

Nothing is imported here: each module imports what it needs, and grpc, FastAPI and prometheus_client
come with extras.
"""
