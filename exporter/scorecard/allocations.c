/* Loaded before all others into the process that runs a model: says how often it allocates. */
#include "../certify/allocations.h"

void temport_watch(int on) { watched = on; }
long temport_allocations(void) { return allocations; }
