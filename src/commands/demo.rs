//! `afterplay demo`

use super::{ExitError, Screen};
use crate::cli::Global;

/// Tells the whole story in a temporary folder.
pub(super) async fn demo(_global: &Global, _screen: &mut Screen<'_>) -> Result<(), ExitError> {
    Err(ExitError::failed("`demo` is not part of this build"))
}
