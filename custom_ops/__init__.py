"""Custom attention operators."""
