"""The figures, one module each; what they share is in `style`."""
