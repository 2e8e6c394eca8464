"""Reader studies: can a person tell a true explanation from a false one?"""
