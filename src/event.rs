//! Raw JSON to a checked event: fields, units and limits (contract sections 6 and 6.1).

use serde::Serialize;

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Dotted path below the event, for example `mediaCollection.playhead`.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}
