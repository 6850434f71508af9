//! Lines of facts: a label, and a value that is wrapped to the screen.

use comfy_table::{ContentArrangement, Table, presets};

use super::style::{Style, Tone};

/// Columns that a label takes.
const LABEL: usize = 14;

/// One fact: a label, its value, and the tone of the value.
pub(super) type Fact = (&'static str, String, Option<Tone>);

/// `text` in lines of at most `columns`, broken between words where there are any.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(columns.max(1)).unwrap_or(u16::MAX));
    table.add_row([text]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The facts below each other, indented by two.
pub(super) fn facts(rows: &[Fact], width: usize, style: Style) -> String {
    let mut out = String::new();
    for (label, value, tone) in rows {
        for (number, line) in wrap(value, width.saturating_sub(LABEL + 2)).iter().enumerate() {
            let label = if number == 0 { *label } else { "" };
            let value = tone.map_or_else(|| line.clone(), |tone| style.paint(tone, line));
            let label = style.paint(Tone::Faint, &format!("{label:LABEL$}"));
            out.push_str(format!("  {label}{value}").trim_end());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::text;

    #[test]
    fn values_are_wrapped_beside_their_label() {
        let rows = [
            ("Link", String::from("offline"), None),
            (
                "Last answer",
                String::from("503: the service is closed for a while, come back later in the day"),
                None,
            ),
            ("Journal", format!("/{}", "long/".repeat(9)), None),
        ];
        let shown = facts(&rows, 50, Style::plain());
        assert_eq!(
            shown,
            "  Link          offline\n  \
               Last answer   503: the service is closed for a\n                \
                             while, come back later in the day\n  \
               Journal       /long/long/long/long/long/long/lon\n                \
                             g/long/long/\n"
        );
        assert!(shown.lines().all(|line| text::width(line) <= 50));
    }
}
