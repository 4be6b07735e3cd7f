"""Many bundles: a matrix of exports as jobs with content keys, done once each, wherever there are workers."""
