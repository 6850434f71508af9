//! `afterplay sandbox`

use super::{ExitError, Screen};
use crate::cli::SandboxArgs;

/// Runs the stand-in endpoint until it is told to stop.
pub(super) async fn sandbox(_args: &SandboxArgs, _screen: &mut Screen<'_>) -> Result<(), ExitError> {
    Err(ExitError::failed("`sandbox` is not part of this build"))
}
