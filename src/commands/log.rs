//! What the service says while it runs: lines on standard error, which systemd passes on to its journal with times of
//! its own.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

use super::Screen;
use crate::clock::{BUILT_MS, Clock, rfc3339};

/// What systemd takes the rest of a line for (`sd-daemon(3)`): an error.
const ERROR: &str = "<3>";

/// Sends the log to standard error.
pub(super) fn to_stderr(screen: &Screen<'_>) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let levels = std::env::var("AFTERPLAY_LOG").unwrap_or_default();
    let levels: Targets = levels
        .parse()
        .ok()
        .filter(|_| !levels.is_empty())
        .unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second service in one process (the demo) keeps the first one's log.
    let _ = if is_in_journal() {
        let lines = Prioritized(format().without_time().with_target(false).with_ansi(false));
        tracing_subscriber::registry()
            .with(levels)
            .with(layer.with_ansi(false).event_format(lines))
            .try_init()
    } else {
        let colours = screen.err_live && screen.style.is_on();
        let layer = layer.with_timer(Stamp).with_target(false).with_ansi(colours);
        tracing_subscriber::registry().with(levels).with(layer).try_init()
    };
}

/// A complaint as standard error takes it, each line by itself.
pub(super) fn complaint(text: &str) -> String {
    let mark = if is_in_journal() { ERROR } else { "" };
    text.lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// Whether standard error is the stream to systemd's journal, which it names by device and inode. Whatever runs below a
/// service inherits the variable, also where its own standard error leads to a terminal or a file.
fn is_in_journal() -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| {
        rustix::fs::fstat(rustix::stdio::stderr())
            .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
    })
}

/// Lines that say how grave they are, so that `journalctl --priority` finds them.
struct Prioritized<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str(match *event.metadata().level() {
            Level::ERROR => ERROR,
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            _ => "<7>",
        })?;
        self.0.format_event(context, out, event)
    }
}

/// The wall clock, or the time since the boot as long as that clock cannot be right.
struct Stamp;

impl FormatTime for Stamp {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let now = Clock::System.now();
        if now.wall_ms >= BUILT_MS {
            write!(out, "{}", rfc3339(now.wall_ms))
        } else {
            write!(out, "boot+{}.{:03}s", now.boot_ms / 1000, now.boot_ms % 1000)
        }
    }
}
