"""Step models of any graph: a rule per operator along time, the states, and what a stream is compared with."""
