"""How scripts are written: which put no space between words, and what that means for a prompt."""

import unicodedata

# By how Unicode's names of their letters begin.
_UNSPACED = (
    *("CJK ", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO ", "KHMER", "MYANMAR", "TIBETAN"),
    *("IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH KATAKANA"),
)


def unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no space between words."""
    return _named(character, _UNSPACED)


def takes_endings(character: str) -> bool:
    """Whether more text follows a noun directly: Korean has spaces, but not before endings."""
    return _named(character, (*_UNSPACED, "HANGUL"))


def separator(prompt: str, target: str) -> str:
    """What is written between a prompt and its object: a space, or nothing.

    Nothing where both are of scripts without spaces between words (Chinese, Japanese, Thai, …).
    The released code puts a space everywhere (SPEC A.4, F.1); no prompt or object of its files is
    of such a script.
    """
    return "" if unspaced(prompt[-1:]) and unspaced(target[:1]) else " "


def _named(character: str, beginnings: tuple[str, ...]) -> bool:
    if not character or character.isascii():
        return False
    return unicodedata.name(character, "").startswith(beginnings)
