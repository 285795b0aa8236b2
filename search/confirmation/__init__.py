"""The proof of a search: its best configs beside the stock recipe, in full runs with several seeds."""
