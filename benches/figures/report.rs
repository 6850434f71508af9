//! Rows with their goals: a table for people, a file for programs.

use std::path::Path;

use serde_json::{Value, json};

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Told for comparison.
    None,
}

impl Goal {
    fn met(self, figure: f64) -> Option<bool> {
        match self {
            Goal::AtLeast(least) => Some(figure >= least),
            Goal::AtMost(most) => Some(figure <= most),
            Goal::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::AtLeast(least) => format!(">= {}", number(least)),
            Goal::AtMost(most) => format!("<= {}", number(most)),
            Goal::None => "-".into(),
        }
    }
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Of afterplay, and of what it is compared with.
    pub(crate) ours: f64,
    pub(crate) theirs: Option<f64>,
    pub(crate) unit: &'static str,
    /// What the goal is about: a ratio, or `ours`.
    pub(crate) figure: f64,
    pub(crate) goal: Goal,
}

impl Row {
    /// A figure that stands for itself.
    pub(crate) fn plain(name: &str, ours: f64, unit: &'static str, goal: Goal) -> Row {
        Row { name: name.into(), ours, theirs: None, unit, figure: ours, goal }
    }

    /// A figure beside another.
    pub(crate) fn ratio(name: &str, ours: f64, theirs: f64, unit: &'static str, goal: Goal) -> Row {
        Row { name: name.into(), ours, theirs: Some(theirs), unit, figure: ours / theirs, goal }
    }

    fn verdict(&self) -> &'static str {
        match self.goal.met(self.figure) {
            Some(true) => "met",
            Some(false) => "not met",
            None => "",
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "afterplay": self.ours, "beside": self.theirs, "unit": self.unit,
            "ratio": self.theirs.map(|_| self.figure), "goal": self.goal.text(), "met": self.goal.met(self.figure),
        })
    }
}

/// Rows as they are found; each is shown at once, so that a run that is broken off has told something.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    pub(crate) fn push(&mut self, row: Row) {
        eprint!("{}", line(&row));
        self.0.push(row);
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty());
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The value below which so many of a hundred lie.
pub(crate) fn percentile(sorted: &[u32], percent: usize) -> f64 {
    f64::from(sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)])
}

fn number(figure: f64) -> String {
    match figure.abs() {
        at if at >= 1000.0 => {
            let digits = format!("{figure:.0}");
            let mut text = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        at if at >= 100.0 || at.fract() == 0.0 => format!("{figure:.0}"),
        at if at >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// A table as Markdown shows it.
pub(crate) fn table(rows: &Rows) -> String {
    let mut text = String::from(
        "| figure | afterplay | beside | unit | ratio | goal | |\n|---|---:|---:|---|---:|---|---|\n",
    );
    text.extend(rows.0.iter().map(line));
    text
}

fn line(row: &Row) -> String {
    let beside = row.theirs.map(number).unwrap_or_default();
    let ratio = row.theirs.map(|_| number(row.figure)).unwrap_or_default();
    let (name, ours, unit) = (&row.name, number(row.ours), row.unit);
    let (goal, verdict) = (row.goal.text(), row.verdict());
    format!("| {name} | {ours} | {beside} | {unit} | {ratio} | {goal} | {verdict} |\n")
}

/// Keeps the rows for programs.
pub(crate) fn save(rows: &Rows, path: &Path) {
    let rows: Vec<Value> = rows.0.iter().map(Row::json).collect();
    let text = serde_json::to_string_pretty(&json!({ "version": env!("CARGO_PKG_VERSION"), "rows": rows }));
    std::fs::write(path, text.unwrap()).unwrap();
}
