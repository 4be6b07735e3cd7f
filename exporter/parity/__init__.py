"""Does every runtime compute what the torch source means: cases, oracle, comparison, bisection, gate."""
