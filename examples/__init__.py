"""Examples that run; not part of the product."""
