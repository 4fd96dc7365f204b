//! The outcome.
