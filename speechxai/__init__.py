"""Why does a speech classifier say Parkinson's? Explain it, test the explanation, say it in clinical words.

The public names stand in `__init__.pyi`, for people, type checkers and editors alike. Each is loaded when it is first
used, so that `import speechxai` costs next to nothing.
"""

import lazy_loader

__version__ = "1.0.0rc1"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
