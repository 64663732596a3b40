"""Files, locks, processes, signals and progress: what any long-running program needs."""
