"""Files that others publish, checked by their sha256."""
