//! `afterplay sessions`

use comfy_table::CellAlignment;
use serde_json::{Value, json};

use super::model::Session;
use super::pages::{PAGE, fetch_all};
use super::style::{Style, Tone, of_state};
use super::{ExitError, Screen, layout, text};
use crate::cli::SessionsArgs;
use crate::client::{Client, ClientError};

/// Lists the sessions, all pages.
pub(super) async fn sessions(
    client: &mut Client,
    args: &SessionsArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let all = fetch(client, args.state.map(|state| state.word()), None).await?;
    if args.json {
        screen.line(&text::json(&format!("{:#}", json!({ "sessions": all, "next": null }))))?;
        return Ok(());
    }
    let all: Vec<Session> = serde_json::from_value(Value::Array(all)).map_err(|error| {
        ExitError::failed(format!(
            "the list of sessions is not understood ({error}); --json prints it as it is"
        ))
    })?;
    if all.is_empty() {
        let state = args.state.map_or_else(String::new, |state| format!("{} ", state.word()));
        screen.line(&format!("No {state}sessions."))?;
        return Ok(());
    }
    let now_ms = super::now_by_service(client, screen).await;
    let shown = table(&all, now_ms, screen.width, screen.style);
    screen.out.write_all(shown.as_bytes())?;
    Ok(())
}

/// Every session, or every one in a state or of a user, newest first.
pub(super) async fn fetch(
    client: &mut Client,
    state: Option<&str>,
    owner: Option<u32>,
) -> Result<Vec<Value>, ClientError> {
    let mut path = format!("/v1/sessions?limit={PAGE}");
    if let Some(state) = state {
        path.push_str(&format!("&state={state}"));
    }
    if let Some(uid) = owner {
        path.push_str(&format!("&owner={uid}"));
    }
    fetch_all(client, &path).await
}

fn table(sessions: &[Session], now_ms: i64, width: usize, style: Style) -> String {
    let of_several = sessions.iter().any(|session| session.uid != sessions[0].uid);
    let row = |session: &Session| {
        let about = if session.time.as_deref() == Some("estimated") { "~" } else { "" };
        let started = session.started_at.as_deref().and_then(text::millis);
        let mut row = vec![
            text::visible(&session.session).into_owned(),
            session.title.as_deref().map_or(String::from("–"), |title| text::visible(title).into_owned()),
            started.map_or(String::from("?"), |at| format!("{about}{}", text::age(at, now_ms))),
            session.events.to_string(),
        ];
        if of_several {
            row.insert(0, session.uid.map_or(String::from("?"), |uid| uid.to_string()));
        }
        row.insert(0, text::visible(&session.state).into_owned());
        row
    };
    let mut rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    let mut header = vec!["STATE", "KEY", "TITLE", "AGE", "EVENTS"];
    if of_several {
        header.insert(1, "OWNER");
    }
    let (last, title) = (header.len() - 1, header.len() - 3);
    let title_columns = layout::room(&header, &rows, title, width);
    for row in &mut rows {
        row[title] = text::truncate(&row[title], title_columns).into_owned();
    }

    let mut table = layout::table(&header, rows, width);
    if let Some(column) = table.column_mut(last) {
        column.set_cell_alignment(CellAlignment::Right);
    }

    let mut out = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let word = line.split(' ').next().unwrap_or_default();
        if number == 0 {
            out.push_str(&style.paint(Tone::Faint, line));
        } else {
            out.push_str(&style.paint(of_state(word), word));
            out.push_str(&line[word.len()..]);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
