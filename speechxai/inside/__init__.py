"""Inside a network: a trained interpreter, the bands it uses at all."""
