"""Hold what Kubernetes is given: the image's Dockerfile and the Helm chart (docs/kubernetes.md)."""
