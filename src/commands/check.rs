//! `afterplay check`

use super::{ExitError, Screen};
use crate::cli::{CheckArgs, Global};

/// Says what is wrong with the configuration, the journal and the way to the endpoint.
pub(super) async fn check(
    _global: &Global,
    _args: &CheckArgs,
    _screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    Err(ExitError::failed("`check` is not part of this build"))
}
