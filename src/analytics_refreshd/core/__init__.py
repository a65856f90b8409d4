"""What the daemon decides: values in, values out. Standard library only; no clock, environment or socket."""
