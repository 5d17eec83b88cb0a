"""Kubernetes: finetuning and scans as jobs of their own.

Talks to the cluster, stages files on shared storage, follows logs and tells why a pod ended. What runs in a pod is
elsewhere (`reft.finetuning.worker`, `reft.scan`); manifests of the platform are in `deploy/k8s`.
"""

from lazy_loader import attach_stub

# Names load their module when they are first asked for: the command line starts without torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
