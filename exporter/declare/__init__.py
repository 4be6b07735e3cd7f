"""From what was asked to a declaration: architectures, modules of one's own, streams, weights."""
