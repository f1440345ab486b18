"""The table in other engines' words: their configuration -> a drop-in of ours, our table -> their configuration.

Values in, values out: what a file holds has been decoded before it comes here, and is encoded after it leaves.
"""
