"""Credit figures that two parties must compute alike."""
