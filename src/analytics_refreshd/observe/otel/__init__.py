"""The export by OpenTelemetry: loaded only where `[otel]` names a collector."""
