"""The transparency log: formats that outside tools read, and the audit of what it says."""
