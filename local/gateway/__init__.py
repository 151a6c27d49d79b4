"""The embedded platform's data plane: one process that every request passes, and that decides nothing but where to.

As Knative's ingress and activator: it holds the connections, the routes, the requests that wait for a replica, what is
in flight, and the payload logger. What runs and what is routed where is the controller's (`local/serving`), which
pushes the whole state over a Unix socket and gets back how busy each revision is. Either may be killed: the gateway
goes on with the last state, and a new one is told the state before it refuses anything.
"""
