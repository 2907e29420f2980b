"""The OpenTelemetry protocol: settings, transports, answers, and a receiver for development."""
