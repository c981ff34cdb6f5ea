"""How the latency benchmark measures: what is frozen, what each model executes, what it truly takes."""
