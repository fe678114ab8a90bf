"""Names of the matrices in safetensors files that are no parameters of a model. No torch."""

LAYER = "layer"  # covariance.safetensors, factors.safetensors: in front of the number of a layer
BASIS = "basis"  # null_spaces.safetensors: in front of the number of a layer
EIGENVALUES = "eigenvalues"  # the same
TARGETS = "targets"  # targets.safetensors: the target states
DELTA = "delta."  # targets.safetensors: in front of the site at which a delta was added


def layer_name(layer: int) -> str:
    """Name of a layer's covariance, or of its factor."""
    return f"{LAYER}{layer}"


def layer_of(name: str) -> int:
    """The layer of a `layer_name`."""
    return int(name.removeprefix(LAYER))


def delta_name(site: str) -> str:
    """Name of the deltas that were added at a site."""
    return f"{DELTA}{site}"


def site_of(name: str) -> str:
    """The site of a `delta_name`."""
    return name.removeprefix(DELTA)
