"""Files: whole or absent, with digests and provenance."""
