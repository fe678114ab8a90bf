"""The paper's printed numbers and claims, and ours beside them."""
