"""Stops, vowels, words and pauses: what of a recording a unit is, and how much of a map's evidence lies in it."""
