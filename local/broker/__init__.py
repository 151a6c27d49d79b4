"""A durable CloudEvents broker with Knative Eventing's delivery rules: ingress, Triggers, retries, dead letters."""
