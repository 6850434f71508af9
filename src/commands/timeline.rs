//! A session drawn with characters: playhead against time, and under it what else went on.

mod story;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::text;
use story::{Bar, Lane, Story};

/// Columns left of the drawing: labels and the axis.
const MARGIN: usize = 12;
/// Rows of the graph.
const ROWS: usize = 8;

/// Draws `events` (elements of `mediaDownloadedEvents`, in their order) in at most `width` columns, times in `zone`.
///
/// The result ends with a line end, and is empty where there is nothing to draw.
pub fn timeline(events: &[Value], width: usize, zone: &TimeZone) -> String {
    let story = Story::read(events);
    let (Some(first), Some(last)) = (story.points.first(), story.points.last()) else {
        return String::new();
    };
    let scale = Scale { from: first.at_ms, to: last.at_ms, columns: width.saturating_sub(MARGIN).max(20) };
    let mut out = String::new();
    graph(&mut out, &story, &scale);
    axis(&mut out, &scale, zone);
    for lane in &story.lanes {
        row(&mut out, lane, &scale);
    }
    if story.more_states > 0 {
        let more = text::count(story.more_states as u64, "more state");
        out.push_str(&format!("{:MARGIN$}{more}\n", ""));
    }
    for (at_ms, note) in &story.errors {
        let note = format!("  {}  {note}", text::time_of_day(*at_ms, zone));
        out.push_str(&text::truncate(&note, width));
        out.push('\n');
    }
    out
}

/// Times to columns.
struct Scale {
    from: i64,
    to: i64,
    columns: usize,
}

impl Scale {
    /// The column that `at_ms` falls into.
    fn column(&self, at_ms: i64) -> usize {
        let length = self.to.abs_diff(self.from).max(1);
        let since = if at_ms > self.from { at_ms.abs_diff(self.from).min(length) } else { 0 };
        let last = self.columns as u64 - 1;
        // In u128, since a time can be any that a player makes up.
        (u128::from(since) * u128::from(last) / u128::from(length)) as usize
    }

    /// The moment that a column stands for.
    fn moment(&self, column: usize) -> i64 {
        let length = u128::from(self.to.abs_diff(self.from));
        let since = length * column as u128 / (self.columns as u128 - 1);
        self.from.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

fn graph(out: &mut String, story: &Story, scale: &Scale) {
    let playheads = || story.points.iter().map(|point| point.playhead);
    let low = playheads().fold(f64::INFINITY, f64::min);
    let high = playheads().fold(f64::NEG_INFINITY, f64::max);
    let height = if high > low { ROWS } else { 1 };
    let level = |playhead: f64| {
        let share = if high > low { (playhead - low) / (high - low) } else { 0.0 };
        (share * (height - 1) as f64).round() as usize
    };
    // A session of one moment is a dot.
    let drawn = if scale.to > scale.from { scale.columns } else { 1 };
    let levels: Vec<usize> =
        (0..drawn).map(|column| level(story.playhead_at(scale.moment(column)))).collect();
    for number in (0..height).rev() {
        let share = number as f64 / (height.max(2) - 1) as f64;
        let labelled = number == 0 || number == height - 1 || number == height / 2;
        let label = if labelled { text::position(low + (high - low) * share) } else { String::new() };
        let tick = if labelled { '┤' } else { '│' };
        let line: String = (0..drawn).map(|column| dot(&levels, column, number)).collect();
        out.push_str(format!("{label:>10} {tick}{line}").trim_end());
        out.push('\n');
    }
}

/// What the curve shows at a column and a level. A jump is a line, so that it is not taken for two unrelated dots.
fn dot(levels: &[usize], column: usize, number: usize) -> char {
    let here = levels[column];
    let before = column.checked_sub(1).map_or(here, |before| levels[before]);
    match number {
        _ if number == here => '•',
        _ if number > before.min(here) && number < before.max(here) => '│',
        _ => ' ',
    }
}

/// The axis of time with the start, the middle and the end.
fn axis(out: &mut String, scale: &Scale, zone: &TimeZone) {
    out.push_str(&format!("{:11}└{}\n", "", "─".repeat(scale.columns)));
    let label = |at| text::time_of_day(at, zone);
    let (start, middle, end) = (label(scale.from), label(scale.moment(scale.columns / 2)), label(scale.to));
    if scale.from == scale.to {
        out.push_str(&format!("{:MARGIN$}{start}\n", ""));
        return;
    }
    let left = scale.columns / 2 - middle.len() / 2 - start.len();
    let right = scale.columns - start.len() - left - middle.len() - end.len();
    out.push_str(&format!("{:MARGIN$}{start}{:left$}{middle}{:right$}{end}\n", "", "", ""));
}

fn row(out: &mut String, lane: &Lane, scale: &Scale) {
    let mut cells: Vec<String> = vec![String::from(" "); scale.columns];
    for bar in &lane.bars {
        draw(&mut cells, bar, scale);
    }
    for at_ms in &lane.marks {
        cells[scale.column(*at_ms)] = String::from("×");
    }
    let name = text::truncate(&lane.name, MARGIN - 2).into_owned();
    let fill = " ".repeat(MARGIN - text::width(&name).min(MARGIN));
    out.push_str(format!("{name}{fill}{}", cells.concat()).trim_end());
    out.push('\n');
}

/// A bar with its label, `├Opening──┤`; one without an end is left open to the right.
fn draw(cells: &mut [String], bar: &Bar, scale: &Scale) {
    let from = scale.column(bar.from_ms);
    let to = scale.column(bar.to_ms.unwrap_or(scale.to)).max(from);
    if from == to {
        cells[from] = String::from("│");
        return;
    }
    for cell in &mut cells[from..=to] {
        *cell = String::from("─");
    }
    cells[from] = String::from("├");
    cells[to] = String::from(if bar.to_ms.is_some() { "┤" } else { "→" });
    let label = text::truncate(&bar.label, to - from - 1).into_owned();
    // As one cell, in front of as many empty ones as it covers: letters do not always take one column each.
    let columns = text::width(&label);
    if columns > 0 {
        cells[from + 1..from + 1 + columns].fill(String::new());
        cells[from + 1] = label;
    }
}

#[cfg(test)]
mod tests;
