"""Many runs on the slots of an engine, resumable. Nothing is imported here: a worker must start fast."""
