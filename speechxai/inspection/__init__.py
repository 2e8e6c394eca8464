"""One recording heard and explained: the facts that command line, report and app all show."""
