"""The web app: one page, one question. `state` and `work` are the only doors to the library."""
