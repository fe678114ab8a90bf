"""How templates become HTML."""

import jinja2

from modeledit.presentation import TEMPLATES


def html_environment() -> jinja2.Environment:
    """Jinja for HTML: texts are escaped, and an unknown name in a template is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
