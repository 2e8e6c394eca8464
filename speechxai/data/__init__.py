"""Data sets: cards, manifests, speaker-disjoint splits, downloads, synthetic voices."""
