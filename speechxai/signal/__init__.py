"""Sound and what is measured on it: reading, spectrograms, pitch, acoustic measures, quality of a recording."""
