//! Instrumentation for applications that execute many runs.
