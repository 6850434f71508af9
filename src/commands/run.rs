//! `afterplay run`

use super::{ExitError, Screen};
use crate::cli::Global;

/// Runs the service until it is told to stop.
pub(super) async fn run(_global: &Global, _screen: &mut Screen<'_>) -> Result<(), ExitError> {
    Err(ExitError::failed("`run` is not part of this build"))
}
