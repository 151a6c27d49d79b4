"""A Kubernetes-shaped API over SQLite, for the resources in the cluster's manifests.

`store` is the way in for controllers, `app` the HTTP form that kubectl, KServeClient and the kubernetes client use.
"""
