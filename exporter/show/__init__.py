"""What is in a bundle: signature, memory, and each node with its work, bytes, time and error."""
