"""The directory that an export writes."""
