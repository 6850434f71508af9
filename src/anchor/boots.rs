//! Where on the calendar each boot lies, by what is known of it and of its neighbours: pure.
//!
//! A boot with an anchor has its place. One without lies somewhere after the boots before it and before those after it:
//! its own clock is believed if it fits in between, else the boot is put as late as fits. Where nothing later is known
//! either, it is put right after what is known.

use crate::anchor::STEP_MS;
use crate::clock::{BUILT_MS, Moment, Reading};

/// A hardware clock may lag behind the anchors of the boot before by this much and still look right.
const SLACK_MS: i64 = 60_000;
/// Nobody runs one version for longer. A clock beyond that which no `Date` confirmed has jumped, and the boots after it
/// must not be held to that: no certificate would be valid any more.
const UNCONFIRMED_MOST_MS: i64 = BUILT_MS + 10 * 365 * 24 * 3_600_000;

/// Who says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The kernel: something keeps the wall clock synchronised.
    Kernel,
    /// The `Date` of an answer over verified TLS.
    Date,
    /// A hardware clock that the operator vouches for.
    Rtc,
}

impl Source {
    /// All of them.
    pub const ALL: [Source; 3] = [Source::Kernel, Source::Date, Source::Rtc];

    /// The fixed name.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Kernel => "kernel",
            Source::Date => "date",
            Source::Rtc => "rtc",
        }
    }

    /// The one with this name.
    pub fn parse(text: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// A moment of a boot whose wall time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Milliseconds since the boot.
    pub boot_ms: i64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
    /// Who said so.
    pub source: Source,
    /// How far off it may be.
    pub uncertainty_ms: i64,
}

impl Anchor {
    /// Wall time less boot time.
    pub fn offset_ms(&self) -> i64 {
        self.wall_ms.saturating_sub(self.boot_ms)
    }

    /// Whether both say the same, as well as they know it.
    pub fn agrees_with(&self, other: &Anchor) -> bool {
        let tolerated = STEP_MS.max(self.uncertainty_ms).max(other.uncertainty_ms);
        self.offset_ms().abs_diff(other.offset_ms()) <= tolerated.unsigned_abs()
    }

    /// Whether this one counts in place of one that came before it. A source corrects itself, since a clock is set in
    /// order to be right; and where two contradict each other the earlier one is stale. But nobody checks a hardware
    /// clock.
    fn supersedes(&self, earlier: &Anchor) -> bool {
        if self.source == earlier.source {
            return true;
        }
        let corrects = self.source != Source::Rtc && !self.agrees_with(earlier);
        corrects || self.uncertainty_ms <= earlier.uncertainty_ms
    }
}

/// What is known of one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The journal's number of it.
    pub id: i64,
    /// When it was first seen.
    pub first: Reading,
    /// The last moment that is known of it; for the present boot: now.
    pub last: Reading,
    /// In the order in which they came.
    pub anchors: Vec<Anchor>,
}

impl Boot {
    /// The anchor that counts: the most certain one, unless a later one contradicts it.
    pub fn anchor(&self) -> Option<&Anchor> {
        self.anchors.iter().reduce(|best, later| if later.supersedes(best) { later } else { best })
    }

    /// The anchor, if other boots may be held to it.
    fn plausible_anchor(&self) -> Option<&Anchor> {
        self.anchor().filter(|it| it.source == Source::Date || it.wall_ms <= UNCONFIRMED_MOST_MS)
    }

    /// The same, if nobody checks only this: what is certain enough to refuse or give up anything for.
    fn sure_anchor(&self) -> Option<&Anchor> {
        self.plausible_anchor().filter(|it| it.source != Source::Rtc)
    }

    fn own_offset_ms(&self) -> i64 {
        self.last.wall_ms.saturating_sub(self.last.boot_ms)
    }
}

/// How well the place of a boot is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// By an anchor of its own.
    Trusted,
    /// By its own clock, which looks right and which nobody has confirmed.
    Assumed,
    /// By its neighbours.
    Estimated,
}

/// Where a boot lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Wall time less boot time.
    pub offset_ms: i64,
    /// How well that is known.
    pub standing: Standing,
    /// Whether nothing better can come: a later boot has an anchor.
    pub settled: bool,
}

/// All boots in order; the last one is the present one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// In order.
    pub boots: Vec<Boot>,
}

impl History {
    /// The boot of this number.
    pub fn boot(&self, id: i64) -> Option<&Boot> {
        self.boots.binary_search_by_key(&id, |boot| boot.id).ok().map(|at| &self.boots[at])
    }

    /// The wall time of a moment of an anchored boot.
    pub fn wall_ms(&self, boot: i64, boot_ms: i64) -> Option<i64> {
        Some(boot_ms.saturating_add(self.boot(boot)?.anchor()?.offset_ms()))
    }

    /// Wall time less boot time that the present boot certainly has at the least, and who says so: it began after this
    /// program was made (`None`), after the last moment of the last boot whose time was sure, and after all that is
    /// known to have passed since.
    pub fn floor(&self) -> (i64, Option<Source>) {
        self.held_to(Boot::sure_anchor)
    }

    /// Wall time less boot time of the present boot for whoever must not be fooled by a clock that was set back. Whoever
    /// is less certain is held to what those said who are more so; a `Date` to nobody.
    pub fn checked_offset_ms(&self) -> Option<i64> {
        let anchor = self.boots.last()?.anchor()?;
        let floor = match anchor.source {
            Source::Date => return Some(anchor.offset_ms()),
            Source::Kernel => self.held_to(|it| it.anchor().filter(|it| it.source == Source::Date)),
            Source::Rtc => self.floor(),
        };
        Some(anchor.offset_ms().max(floor.0))
    }

    /// Whether what a hardware clock says can be right: not if it lies before what has certainly passed.
    pub fn is_possible(&self, now: &Reading) -> bool {
        now.wall_ms.saturating_sub(now.boot_ms) >= self.floor().0.saturating_sub(SLACK_MS)
    }

    fn held_to(&self, by: fn(&Boot) -> Option<&Anchor>) -> (i64, Option<Source>) {
        let Some(present) = self.boots.len().checked_sub(1) else { return (BUILT_MS, None) };
        let (start, from) = self.start_after(present, by);
        (start, from.and_then(|at| by(&self.boots[at])).map(|anchor| anchor.source))
    }

    /// When the boot at this position can have begun, as far as the boots before it tell.
    fn earliest(&self, at: usize) -> i64 {
        self.start_after(at, Boot::plausible_anchor).0
    }

    /// The same as far as those boots tell that are anchored `by` this, and the last one of them.
    fn start_after(&self, at: usize, by: fn(&Boot) -> Option<&Anchor>) -> (i64, Option<usize>) {
        let end = |(at, boot): (usize, &Boot)| {
            let end = boot.last.boot_ms.saturating_add(by(boot)?.offset_ms());
            (end > BUILT_MS).then_some((at, end))
        };
        let known = self.boots[..at].iter().enumerate().rev().find_map(end);
        let (run, floor) = known.map_or((0, BUILT_MS), |(at, end)| (at + 1, end));
        let start =
            self.boots[run..at].iter().fold(floor, |start, boot| start.saturating_add(boot.last.boot_ms));
        (start, known.map(|(at, _)| at))
    }

    /// Milliseconds that have passed from `earlier` to `now`, a moment of the present boot: by the anchors if both boots
    /// have one, and never less than the boots in between are known to have lasted. A clock that was wrong then or is
    /// wrong now neither cuts a wait short nor holds it up.
    pub fn since(&self, earlier: &Moment, now: &Moment) -> i64 {
        self.since_by(earlier, now, Boot::anchor)
    }

    /// The same for whatever cannot be undone: no hardware clock and no clock that jumped is believed.
    pub fn surely_since(&self, earlier: &Moment, now: &Moment) -> i64 {
        self.since_by(earlier, now, Boot::sure_anchor)
    }

    fn since_by(&self, earlier: &Moment, now: &Moment, by: fn(&Boot) -> Option<&Anchor>) -> i64 {
        if earlier.boot == now.boot {
            return now.since(earlier);
        }
        let lasted = |boot: &Boot| match boot.id {
            id if id <= earlier.boot => boot.last.boot_ms.saturating_sub(earlier.boot_ms).max(0),
            _ => boot.last.boot_ms,
        };
        let between = self.boots.iter().filter(|boot| (earlier.boot..now.boot).contains(&boot.id));
        let at_least = between.map(lasted).fold(now.boot_ms, i64::saturating_add);
        let wall_ms =
            |moment: &Moment| Some(moment.boot_ms.saturating_add(by(self.boot(moment.boot)?)?.offset_ms()));
        let by_anchors = wall_ms(now).zip(wall_ms(earlier)).map(|(now, then)| now.saturating_sub(then));
        by_anchors.unwrap_or(0).max(at_least).max(0)
    }

    /// Where a boot lies, as well as can be told now.
    pub fn place(&self, id: i64) -> Option<Place> {
        let at = self.boots.binary_search_by_key(&id, |boot| boot.id).ok()?;
        let boot = &self.boots[at];
        if let Some(anchor) = boot.anchor() {
            let offset_ms = anchor.offset_ms();
            return Some(Place { offset_ms, standing: Standing::Trusted, settled: true });
        }
        let later = self.boots[at + 1..].iter().position(|boot| boot.anchor().is_some());
        let present = self.boots.len() - 1;
        if let Some(next) = later.map(|distance| at + 1 + distance) {
            let start = self.boots[next].anchor()?.offset_ms();
            let offset_ms = self.before(at, next, start);
            return Some(Place { offset_ms, standing: Standing::Estimated, settled: true });
        }
        let now = &self.boots[present];
        let looks_right = now.own_offset_ms() >= self.earliest(present).saturating_sub(SLACK_MS);
        let offset_ms = match (looks_right, at == present) {
            (true, true) => {
                let offset_ms = now.own_offset_ms();
                return Some(Place { offset_ms, standing: Standing::Assumed, settled: false });
            }
            (true, false) => self.before(at, present, now.own_offset_ms()),
            (false, _) => self.earliest(at),
        };
        Some(Place { offset_ms, standing: Standing::Estimated, settled: false })
    }

    /// The start of boot `at`, when boot `next` started at `start`: what its own clock says if that fits, else as late
    /// as it can have been.
    fn before(&self, at: usize, next: usize, start: i64) -> i64 {
        (at..next).rev().fold(start, |start, at| {
            let latest = start.saturating_sub(self.boots[at].last.boot_ms);
            let own = self.boots[at].own_offset_ms();
            if (self.earliest(at)..=latest).contains(&own) { own } else { latest }
        })
    }

    /// The wall time of `now`, a moment of the present boot, unless nobody can tell: by its anchor, else by its own
    /// clock if that looks right.
    pub fn now_ms(&self, now: &Reading) -> Option<i64> {
        let present = self.boots.last()?;
        let place = self.place(present.id)?;
        match place.standing {
            Standing::Trusted => Some(now.boot_ms.saturating_add(place.offset_ms)),
            Standing::Assumed => Some(now.wall_ms),
            Standing::Estimated => None,
        }
    }

    /// Whether the present boot's place is known or, where unconfirmed clocks count as well, looks right.
    pub fn is_present_known(&self, assume: bool) -> bool {
        let place = self.boots.last().and_then(|boot| self.place(boot.id));
        place.is_some_and(|place| match place.standing {
            Standing::Trusted => true,
            Standing::Assumed => assume,
            Standing::Estimated => false,
        })
    }
}

#[cfg(test)]
mod tests;
