"""OPTIMIZATION, SPREAD and ROME, and the job of one iteration."""
