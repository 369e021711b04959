"""The operator's credit business: only noisy totals across lenders, never a row."""
