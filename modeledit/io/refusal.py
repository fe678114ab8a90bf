"""The errors that are nobody's mistake in the code: what was brought cannot be taken."""


class Refusal(ValueError):
    """What was brought is not right; the message names it and the way out, and is all there is.

    `modeledit.io.log.journal` shows it without a traceback.
    """
