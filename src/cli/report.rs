//! The one place that prints errors.
