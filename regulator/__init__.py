"""The regulator's program: reads evidence, believes nobody, changes nothing."""
