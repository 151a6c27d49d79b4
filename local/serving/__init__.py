"""Knative Serving and KServe on one machine: revisions are processes that this control plane starts, scales and stops.

The gateway (`local/gateway`), a process of its own, passes requests to them and reports how many there are.

As on a cluster: revisions and their names, traffic by percent and tag, `canaryTrafficPercent` with KServe's status
fields, scaling by concurrency from and to zero, buffering, readiness by httpGet and tcpSocket, draining, KServe's
payload events. Only a cluster gives: images, resource limits and isolation, gRPC and WebSockets through the gateway,
liveness probes, the rps, cpu and memory metrics (concurrency is taken instead), transformers and explainers, more than
one container, Configuration and Route objects, and the removal of old Revision objects.
"""
