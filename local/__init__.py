"""The embedded platform: runs the cluster's own manifests on one machine."""
