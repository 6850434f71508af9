//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("cannot read the configuration {}: {source}; give a file that exists and that this user may read", path.display())]
    Unreadable {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Everything that is wrong with the file and the environment, one line a problem.
    #[error("{}", lines(.0))]
    Invalid(Vec<ConfigProblem>),
}

impl ConfigError {
    /// The exit code of a program that ends because of its configuration (`EX_CONFIG`).
    pub const EXIT_CODE: u8 = 78;
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file, or the environment variable.
    pub origin: String,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// Full name of the key, for example `session.idle_timeout`; empty when no key can be named.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) origin: String,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
}

impl Place {
    pub(super) fn environment(variable: &str) -> Self {
        Self { origin: format!("environment variable {variable}"), line: None, column: None }
    }

    pub(super) fn default() -> Self {
        Self { origin: "built-in default".to_owned(), line: None, column: None }
    }

    pub(super) fn problem(&self, key: impl Into<String>, problem: impl Into<String>) -> ConfigProblem {
        ConfigProblem {
            origin: self.origin.clone(),
            line: self.line,
            column: self.column,
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// The candidate that `word` was most likely meant to be, if any is close enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in which two swapped neighbours count once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("socket", "socket", 0),
            ("sokcet", "socket", 1),
            ("timout", "timeout", 1),
            ("idle-timeout", "idle_timeout", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_close_names_are_suggested() {
        let names = ["socket", "listen", "origins"];
        assert_eq!(nearest("sokcet", names), Some("socket"));
        assert_eq!(nearest("origin", names), Some("origins"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("", names), None);
    }

    #[test]
    fn a_problem_reads_as_one_line() {
        let place = Place { origin: "/etc/a.toml".into(), line: Some(3), column: Some(7) };
        assert_eq!(place.problem("api.listen", "no").to_string(), "/etc/a.toml:3:7: api.listen: no");
        assert_eq!(
            Place::environment("AFTERPLAY_X").problem("", "no").to_string(),
            "environment variable AFTERPLAY_X: no"
        );
    }
}
