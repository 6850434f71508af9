//! `afterplay losses`

use comfy_table::{CellAlignment, ColumnConstraint, Width};
use serde_json::{Value, json};

use super::model::LossEntry;
use super::pages::{PAGE, fetch_all};
use super::style::{Style, Tone};
use super::{ExitError, Screen, layout, text};
use crate::cli::LossesArgs;
use crate::client::Client;

/// Columns that a reason has at least, so that it stays readable beside a long key.
const WHY: usize = 16;

/// Lists what was lost, all pages.
pub(super) async fn losses(
    client: &mut Client,
    args: &LossesArgs,
    screen: &mut Screen<'_>,
) -> Result<(), ExitError> {
    let all = fetch_all(client, &format!("/v1/losses?limit={PAGE}")).await?;
    if args.json {
        screen.line(&text::json(&format!("{:#}", json!({ "losses": all, "next": null }))))?;
        return Ok(());
    }
    let all: Vec<LossEntry> = serde_json::from_value(Value::Array(all)).map_err(|error| {
        ExitError::failed(format!(
            "the list of losses is not understood ({error}); --json prints it as it is"
        ))
    })?;
    if all.is_empty() {
        screen.line("No losses: every event that was acknowledged is stored or delivered.")?;
        return Ok(());
    }
    let now_ms = super::now_by_service(client, screen).await;
    let shown = table(&all, now_ms, screen.width, screen.style);
    screen.out.write_all(shown.as_bytes())?;
    Ok(())
}

fn table(losses: &[LossEntry], now_ms: i64, width: usize, style: Style) -> String {
    let of_several = losses.iter().any(|loss| loss.owner != losses[0].owner);
    let shown = |text: &str| match text {
        "" => String::from("–"),
        text => text::visible(text).into_owned(),
    };
    let row = |loss: &LossEntry| {
        let at = loss.at.as_deref().and_then(text::millis);
        let mut row = vec![
            text::visible(&loss.name).into_owned(),
            shown(loss.key.as_deref().unwrap_or_default()),
            at.map_or(String::from("?"), |at| text::age(at, now_ms)),
            loss.events.to_string(),
            shown(&loss.detail),
        ];
        if of_several {
            row.insert(1, loss.owner.map_or(String::from("?"), |uid| uid.to_string()));
        }
        row
    };
    let rows: Vec<Vec<String>> = losses.iter().map(row).collect();
    let mut header = vec!["NAME", "KEY", "AGE", "EVENTS", "WHY"];
    if of_several {
        header.insert(1, "OWNER");
    }
    let (events, why) = (header.len() - 2, header.len() - 1);
    let most = layout::room(&header, &rows, why, width).max(WHY);
    let mut table = layout::table(&header, rows, width);
    if let Some(column) = table.column_mut(events) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(column) = table.column_mut(why) {
        let most = Width::Fixed(u16::try_from(most).unwrap_or(u16::MAX));
        column.set_constraint(ColumnConstraint::UpperBoundary(most));
    }
    let mut out = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        out.push_str(&if number == 0 { style.paint(Tone::Faint, line) } else { line.to_owned() });
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::commands::fake::{Fake, answer};
    use crate::commands::text;

    fn loss(id: u64, key: Option<&str>, detail: &str) -> Value {
        json!({"id": id, "name": "discarded", "key": key, "events": 12, "detail": detail,
            "at": "2026-03-07T18:39:18Z"})
    }

    async fn shown(losses: Vec<Value>) -> String {
        let list = json!({"losses": losses, "next": null});
        let ran = Fake::start(move |_, _| answer(200, list.clone())).run(&["losses"]).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.lines().all(|line| text::width(line) <= 80), "{}", ran.out);
        ran.out
    }

    #[tokio::test]
    async fn what_was_lost_and_why() {
        let losses = vec![loss(2, Some("film\u{1b}[2J"), "dropped by a person"), loss(1, None, "")];
        insta::assert_snapshot!(shown(losses).await, @r"
        NAME       KEY            AGE   EVENTS  WHY
        discarded  film\u{1b}[2J  42 s      12  dropped by a person
        discarded  –              42 s      12  –
        ");
    }

    #[tokio::test]
    async fn whose_it_was_is_shown_where_they_were_several() {
        let mut losses = vec![loss(2, Some(&"k".repeat(128)), "made room for newer events (journal.evict)")];
        losses.push(loss(1, Some("film"), "sessions of which nothing could be read any more"));
        for (loss, uid) in losses.iter_mut().zip([0, u32::MAX]) {
            loss["owner"] = uid.into();
        }
        insta::assert_snapshot!(shown(losses).await, @r"
        NAME       OWNER       KEY                        AGE   EVENTS  WHY
        discarded  0           kkkkkkkkkkkkkkkkkkkkkkkkk  42 s      12  made room for
                               kkkkkkkkkkkkkkkkkkkkkkkkk                newer events
                               kkkkkkkkkkkkkkkkkkkkkkkkk                (journal.evict)
                               kkkkkkkkkkkkkkkkkkkkkkkkk
                               kkkkkkkkkkkkkkkkkkkkkkkkk
                               kkk
        discarded  4294967295  film                       42 s      12  sessions of
                                                                        which nothing
                                                                        could be read
                                                                        any more
        ");
    }

    #[tokio::test]
    async fn none_are_said_to_be_none() {
        assert!(shown(Vec::new()).await.starts_with("No losses: "));
    }

    #[tokio::test]
    async fn all_pages_are_read() {
        let fake = Fake::start(|line, _| match line.contains("after=%40") {
            false => answer(200, json!({"losses": [loss(2, Some("b"), "")], "next": "@2"})),
            true => answer(200, json!({"losses": [loss(1, Some("a"), "")], "next": null})),
        });
        let listed: Value = serde_json::from_str(&fake.run(&["losses", "--json"]).await.out).unwrap();
        assert_eq!(listed, json!({"losses": [loss(2, Some("b"), ""), loss(1, Some("a"), "")], "next": null}));
        assert_eq!(fake.lines(), ["GET /v1/losses?limit=500", "GET /v1/losses?limit=500&after=%402"]);
    }
}
