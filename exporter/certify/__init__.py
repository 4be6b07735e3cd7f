"""Whether a native engine is fit for real time: measured, judged and shown."""
