//! `afterplay sandbox`: the stand-in endpoint, one line a request.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{ExitError, Screen, text};
use crate::cli::SandboxArgs;
use crate::sandbox::{self, Options, Script, Seen};

/// Runs the stand-in endpoint until it is told to stop.
pub(super) async fn sandbox(args: &SandboxArgs, screen: &mut Screen<'_>) -> Result<(), ExitError> {
    let script: Script = match &args.answer {
        None => Script::default(),
        Some(script) => script
            .parse()
            .map_err(|error: sandbox::ScriptError| ExitError { code: 2, message: Some(error.to_string()) })?,
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| ExitError::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    let address = listener
        .local_addr()
        .map_err(|error| ExitError::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    screen.line(&format!("endpoint = \"http://{address}/ee/va/v1/downloaded\""))?;
    screen.out.flush()?;
    let options = Options { save: args.save.clone(), script, ..Options::default() };
    let (mut terminate, mut interrupt) = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)))
        .map_err(|error| ExitError::failed(format!("cannot watch signals: {error}")))?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // The server calls back from its own tasks; the lines go straight to standard output.
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let tell = move |seen: &Seen| {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads along any more: the requests are answered all the same.
        let _ = writeln!(out, "{}", describe(seen)).and_then(|()| out.flush());
    };
    sandbox::serve(listener, options, stop, tell)
        .await
        .map_err(|error| ExitError::failed(format!("the sandbox failed: {error}")))
}

/// One request: what came, what was answered, what was found.
fn describe(seen: &Seen) -> String {
    let title = seen.title.as_ref().or(seen.session.as_ref());
    let mut lines = format!(
        "#{} {} bytes, {} events, {} -> {}",
        seen.n,
        seen.bytes,
        seen.events,
        title.map_or_else(|| "no title".into(), |title| text::visible(title)),
        seen.answer
    );
    if let Some(step) = &seen.step {
        lines.push_str(&format!(" (script: {step})"));
    }
    if let Some(saved) = &seen.saved {
        lines.push_str(&format!("  {}", saved.display()));
    }
    for (kind, findings) in
        [("refused", seen.problems().collect::<Vec<_>>()), ("warning", seen.warnings().collect())]
    {
        for finding in findings {
            lines.push_str(&format!(
                "\n   {kind}: {} {}",
                text::visible(&finding.path),
                text::visible(&finding.reason)
            ));
        }
    }
    if let Some(error) = &seen.save_error {
        lines.push_str(&format!("\n   not kept: {error}"));
    }
    lines
}
