"""BuildKit's protocol: gRPC on a connection taken over, so that ``docker build`` by buildx works unmodified.

    /grpc     client ─▶ Control (Solve, Status, …), LLBBridge (Ping, Solve, Return)    service.py
    /session  we ─▶ client's FileSync, Secrets                                        session.py

A Dockerfile is built by our own builder (``dockerfile.v0`` is what clients ask for); LLB is not executed.
"""
