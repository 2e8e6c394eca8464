"""The audit of a data set: what does a model reach on it that hears no disease?"""
