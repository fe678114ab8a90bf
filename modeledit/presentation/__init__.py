"""Tables, figures and the report."""

from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"
