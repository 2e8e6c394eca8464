"""From bins to signs: what would the model say if the voice were less breathy, and everything else stayed?"""
