//! `afterplay payload`

use super::{ExitError, Screen};
use crate::cli::PayloadArgs;
use crate::client::{Call, Client, session_path};

/// Prints the exact request body of a session, with nothing added.
pub(super) async fn payload(
    client: &mut Client,
    args: &PayloadArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let answer = client.send(&Call::get(session_path(&args.key, "/payload", args.owner))).await?;
    screen.out.write_all(&answer.body)?;
    Ok(())
}
