"""Tables, figures and the report."""

from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"
VENDORED = TEMPLATES.parent / "vendored"  # libraries of others that the report carries
