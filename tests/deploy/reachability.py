"""Who may talk to whom under the network policies: the rules of `networking.k8s.io/v1`, applied to labels.

Policies add up; a pod that none selects in a direction is open there; a connection needs both ends' leave.
"""

from ipaddress import ip_address, ip_network

from tests.deploy.rendering import Manifest, matches

Labels = dict[str, str]


def _names_port(rule: Manifest, port: int) -> bool:
    return "ports" not in rule or any(entry["port"] == port for entry in rule["ports"])


def _takes(peer: Manifest, other: Labels | str) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock")
        if block is None:
            return False
        address = ip_address(other)
        inside = address in ip_network(block["cidr"])
        return inside and not any(address in ip_network(cidr) for cidr in block.get("except", []))
    return "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"], other)


def _allowed(policies: list[Manifest], way: str, pod: Labels, other: Labels | str, port: int) -> bool:
    side, key = {"out": ("Egress", "to"), "in": ("Ingress", "from")}[way]
    chosen = [
        p["spec"] for p in policies if side in p["spec"]["policyTypes"] and matches(p["spec"]["podSelector"], pod)
    ]
    rules = [rule for spec in chosen for rule in spec.get(side.lower(), [])]
    return not chosen or any(_names_port(r, port) and any(_takes(peer, other) for peer in r[key]) for r in rules)


def reaches(items: list[Manifest], source: Labels, target: Labels | str, port: int) -> bool:
    """Whether a pod with these labels reaches another, or an address outside of the cluster, on a port."""
    policies = [item for item in items if item["kind"] == "NetworkPolicy"]
    if not _allowed(policies, "out", source, target, port):
        return False
    return isinstance(target, str) or _allowed(policies, "in", target, source, port)
