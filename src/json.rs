//! Strict JSON reading, and cutting a text into raw parts that keep every byte.

mod raw;
mod tree;

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Visitor};

pub use self::raw::{
    MAX_PARTS, Member, compact, compact_into, cut, elements, lines, members, quote_into, string,
};
pub use self::tree::{MAX_DEPTH, Node, Number, Parsed, parse, parse_str};

/// Problems that are told one by one; more are only counted.
pub const MAX_PROBLEMS: usize = 100;

/// Characters of a member name that a path repeats.
const MAX_NAME_IN_PATH: usize = 64;

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Dotted path below the event, for example `mediaCollection.playhead`.
    pub path: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Problem {
    /// A problem of the text as a whole.
    pub fn whole(problem: impl Into<String>) -> Self {
        Problem { path: String::new(), problem: problem.into() }
    }

    /// The same problem seen from further up: `[2]` before `playhead` gives `[2].playhead`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        let dot =
            if prefix.is_empty() || self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{prefix}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

/// Problems as they are found; keeps the first [`MAX_PROBLEMS`] and counts the rest.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    left_off: usize,
}

impl Problems {
    /// Notes a problem at a place.
    pub fn push(&mut self, path: &Path<'_>, problem: impl Into<String>) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(Problem { path: path.to_string(), problem: problem.into() });
        } else {
            self.left_off += 1;
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What was found, with a last line that counts what was left off.
    pub fn into_vec(mut self) -> Vec<Problem> {
        if self.left_off > 0 {
            self.list.push(Problem::whole(format!("{} more problems are not listed", self.left_off)));
        }
        self.list
    }
}

/// A place in a JSON text, as links from the inside out, so that it costs nothing until it is shown.
#[derive(Debug, Clone, Copy)]
pub enum Path<'p> {
    /// The text as a whole.
    Root,
    /// A member of an object.
    Member(&'p Path<'p>, &'p str),
    /// An element of an array.
    Item(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    /// The place of a member below this one.
    pub fn member(&'p self, name: &'p str) -> Path<'p> {
        Path::Member(self, name)
    }

    /// The place of an element below this one.
    pub fn item(&'p self, index: usize) -> Path<'p> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Member(parent, name) => {
                write!(f, "{parent}")?;
                if !matches!(parent, Path::Root) {
                    f.write_str(".")?;
                }
                f.write_str(&shown(name))
            }
        }
    }
}

/// Whether a terminal or a reader would act on a character, or not see what is really there: control characters, those
/// that reverse the order of what is read, and those that are not shown.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text from outside made fit to repeat to a person: short, without characters that act.
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MAX_NAME_IN_PATH {
            out.push('…');
            break;
        }
        if acts(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The bytes as text, or the place of the first byte that is not UTF-8.
pub fn utf8(text: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(text)
        .map_err(|e| Problem::whole(format!("not valid UTF-8 at byte {} (counted from 0)", e.valid_up_to())))
}

/// Without the white space that JSON allows around a value.
pub fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

fn not_json(error: serde_json::Error) -> Problem {
    Problem::whole(format!("not valid JSON: {error}"))
}

/// A member name, borrowed unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Cow<'de, str>, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}

#[cfg(test)]
mod tests;
