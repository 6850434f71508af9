//! Lines of facts, a label and a value that is wrapped to the screen, and tables of items that have keys.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::style::{Style, Tone};
use super::text;

/// Columns that a label takes.
const LABEL: usize = 14;

/// A UUID fits; longer keys are continued on the next line, never cut, since they are there to be copied.
const KEY: usize = 36;
/// Between the columns of a table.
const GAP: usize = 2;

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

/// Columns of the screen that the others leave for one column of a table, its name's width at least.
pub(super) fn room(header: &[&str], rows: &[Vec<String>], column: usize, width: usize) -> usize {
    let mut taken = GAP * header.len().saturating_sub(1);
    for (at, name) in header.iter().enumerate().filter(|(at, _)| *at != column) {
        let widest = rows.iter().map(|row| text::width(&row[at])).max().unwrap_or(0).max(name.len());
        taken += if *name == "KEY" { widest.min(KEY) } else { widest };
    }
    width.saturating_sub(taken).max(header[column].len())
}

/// A table without lines; the column `KEY` is as wide as keys are.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>, width: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(header);
    table.add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(header) {
        let gap = if header.last() == Some(name) { 0 } else { GAP };
        column.set_padding((0, gap as u16));
        if *name == "KEY" {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed((KEY + GAP) as u16)));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

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
