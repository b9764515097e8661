"""The instructor's tools: checking what was handed in."""
