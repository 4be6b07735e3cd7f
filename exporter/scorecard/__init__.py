"""Every runtime of a bundle side by side: whether it is right, how fast, how large."""
