"""What is inside a network: a trained interpreter, the bands it uses at all, signs as directions and features of its hidden layers."""
