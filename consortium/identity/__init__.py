"""Pseudonyms: normal forms of identifiers, and the t-of-n oblivious function over them."""
