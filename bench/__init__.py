"""Speed against anchors, as ratios of one run; never a timed test."""
