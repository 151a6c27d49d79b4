"""The server: KServe's ModelServer over the engine, on v1, v2 REST and v2 gRPC.

settings → startup (load the model while kserve imports) → server (REST, gRPC, signals) → model (one request) → engine.
"""
