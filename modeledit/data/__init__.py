"""Requests, and where they come from."""
