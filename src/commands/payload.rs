//! `afterplay payload`

use super::{ExitError, Screen};
use crate::cli::PayloadArgs;
use crate::client::{Call, Client, segment};

/// Prints the exact request body of a session, with nothing added.
pub(super) async fn payload(
    client: &mut Client,
    args: &PayloadArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let answer = client.send(&Call::get(format!("/v1/sessions/{}/payload", segment(&args.key)))).await?;
    screen.out.write_all(&answer.body)?;
    Ok(())
}
