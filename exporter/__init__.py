"""From a declaration to artifacts, runs and a report: the pipeline behind `temport`."""
