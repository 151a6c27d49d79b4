"""The embedded platform's data plane: the one process that every request passes through.

It combines Knative's ingress and activator: connections, routes, requests that wait for a replica, requests in flight,
and the payload logger. The controller (`local/serving`) decides what runs and what is routed where; it pushes the whole
state over a Unix socket and gets back how busy each revision is. Either may be killed: the gateway continues with the
last state, and a new gateway receives the state before it rejects anything.

HTTP/1.1 is hand-written on h11, because uvicorn and aiohttp decode bodies, merge headers and drop trailers, and so
cannot pass on what arrived.
"""
