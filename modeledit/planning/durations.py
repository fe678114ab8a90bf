"""Lengths of time as a plan and a progress line say them."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in two or three digits."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    hours = seconds / 3600
    if hours < 2:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"
