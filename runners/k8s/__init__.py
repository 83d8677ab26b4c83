"""Run clients' jobs on Kubernetes, by the Flink Kubernetes Operator."""
