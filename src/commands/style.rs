//! Colour, where it is wanted: on a terminal that can show it, and never with `NO_COLOR`.

use std::ffi::OsStr;

/// What a colour is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way or waiting.
    Busy,
    /// A person should look.
    Bad,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
}

/// Paints or leaves text alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    on: bool,
}

impl Style {
    /// Text stays as it is.
    pub fn plain() -> Style {
        Style { on: false }
    }

    /// Colour for a stream, by what it is and by the values of `NO_COLOR` and `TERM`.
    pub fn for_stream(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Style {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        let dumb = term.is_none_or(|value| value.is_empty() || value == "dumb");
        Style { on: terminal && !refused && !dumb }
    }

    /// Whether it paints.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// `text` in `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The tone of a session's state.
pub fn of_state(state: &str) -> Tone {
    match state {
        "delivered" => Tone::Good,
        "quarantined" => Tone::Bad,
        _ => Tone::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_it_is_wanted() {
        let cases = [
            (true, None, Some("xterm"), true),
            (false, None, Some("xterm"), false),
            (true, Some("1"), Some("xterm"), false),
            (true, Some(""), Some("xterm"), true),
            (true, None, Some("dumb"), false),
            (true, None, None, false),
        ];
        for (terminal, no_color, term, expected) in cases {
            let style = Style::for_stream(terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(style.on, expected, "{terminal} {no_color:?} {term:?}");
        }
    }

    #[test]
    fn painted_text_is_closed_again() {
        assert_eq!(Style { on: true }.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Style::plain().paint(Tone::Bad, "x"), "x");
    }
}
