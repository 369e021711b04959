"""Documents that people ask for, made from an audited bundle and never typed (credit 6)."""
