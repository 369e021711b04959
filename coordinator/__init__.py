"""The coordinator: membership, rounds, registry. It never sees a row."""
