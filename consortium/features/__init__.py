"""What a column means and the bins it becomes."""
