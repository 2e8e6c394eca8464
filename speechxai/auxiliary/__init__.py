"""The auxiliary classifier: what do the maps alone know about the disease?"""
