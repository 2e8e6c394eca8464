"""What is inside a network: a trained interpreter, bands it uses, signs as directions and features of its layers."""
