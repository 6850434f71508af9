//! Boot times to wall times (product section 6; contract section 4).

/// The times that are known of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimes {
    /// What the player said.
    pub said_ms: Option<i64>,
    /// Our wall clock on arrival.
    pub wall_ms: i64,
    /// Boot time on arrival.
    pub boot_ms: i64,
}

/// A player whose timestamp is this close to our wall clock on arrival reads the same clock.
const SAME_CLOCK_MS: i64 = 5000;
/// A clock that was slewed by less than this was not stepped.
const STEP_MS: i64 = 1000;

/// The wall time of each event of one session, in the order given.
///
/// One offset between boot time and wall time holds for the whole session, the one of its last event: that clock was
/// corrected last. Order and intervals therefore survive a clock that is set in the middle of a session. A player that
/// reads the same clock as we do moves along; any other timestamp stays as given.
pub fn resolve(events: &[EventTimes]) -> Vec<i64> {
    let Some(last) = events.last() else { return Vec::new() };
    let offset = last.wall_ms - last.boot_ms;
    events
        .iter()
        .map(|event| match event.said_ms {
            None => event.boot_ms + offset,
            Some(said) if said.abs_diff(event.wall_ms) > SAME_CLOCK_MS.unsigned_abs() => said,
            Some(said) => {
                let stepped = offset - (event.wall_ms - event.boot_ms);
                if stepped.abs() < STEP_MS { said } else { said + stepped }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(said_ms: Option<i64>, wall_ms: i64, boot_ms: i64) -> EventTimes {
        EventTimes { said_ms, wall_ms, boot_ms }
    }

    #[test]
    fn one_offset_holds_for_the_session() {
        let day = 86_400_000;
        let cases: [(&str, Vec<EventTimes>, Vec<i64>); 6] = [
            ("nothing", vec![], vec![]),
            ("stamped on arrival", vec![event(None, 5000, 10), event(None, 6001, 1010)], vec![5001, 6001]),
            (
                "given times stay",
                vec![event(Some(5100), 5000, 10), event(Some(6100), 6003, 1010)],
                vec![5100, 6100],
            ),
            (
                "a step in mid-session moves what came before it",
                vec![event(None, 5000, 10), event(Some(5900), 6000, 1010), event(None, 7000 + day, 2010)],
                vec![5000 + day, 5900 + day, 7000 + day],
            ),
            (
                "another device's clock is not ours to move",
                vec![event(Some(99), 500_000, 10), event(None, 501_000 + day, 1010)],
                vec![99, 501_000 + day],
            ),
            (
                "a slewed clock leaves given times alone",
                vec![event(Some(5000), 5000, 10), event(Some(6000), 6900, 1010)],
                vec![5000, 6000],
            ),
        ];
        for (name, events, times) in cases {
            assert_eq!(resolve(&events), times, "{name}");
        }
    }
}
