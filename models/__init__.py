"""Learning on arrays: no partner, no round, no budget. Only three files load torch."""
