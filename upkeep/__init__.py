"""What every serving role needs beside its work: a health door, backups. Floor 2, no torch."""
