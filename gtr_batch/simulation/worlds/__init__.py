"""Worlds that the analysis was not tuned to: drawn from sources of their own, and importing nothing that they test."""
