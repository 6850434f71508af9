//! Particular damage.
