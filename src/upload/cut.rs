//! Where to cut a session that is too large even without its spare pings (contract section 12.4): pure.

use crate::course::Course;
use crate::event::EventType;
use crate::journal::{Outgoing, Split, StoredEvent, in_order};

/// Hundredths of a part by which a first one may be larger or smaller than the others would be, so that the cut lies
/// between two chapters.
const MARGIN: u128 = 60;
/// Of so many pings about one stays at the last level of thinning: gaps of 300 s instead of 10 s.
const SPARE_PINGS: usize = 30;

/// A place between two events, in the order of their times.
struct Place {
    /// Events before it.
    at: usize,
    /// What stands before it, by [`weight`].
    weight: usize,
    in_chapter: bool,
    /// What is open there.
    course: Course,
}

/// How to cut a first part off `session`, whose body of `refused` bytes was too large, such that all parts may have
/// `budget` bytes and are about alike: never in an ad break, preferably between two chapters. `None`: there is no such
/// place.
pub fn cut(session: &Outgoing, refused: usize, budget: usize) -> Option<Split> {
    let (_, order) = in_order(&session.events, &session.timing.offsets);
    let all: usize = session.events.iter().map(weight).sum::<usize>().max(1);
    let parts = refused.div_ceil(budget.max(1)).max(2);
    let places = places(session, &order);
    // Hundredths of a part that stand before a place.
    let size = |place: &Place| parts as u128 * place.weight as u128 * 100 / all as u128;
    let off = |place: &&Place| size(place).abs_diff(100);
    let largest = parts as u128 * budget as u128 * 95 / refused.max(1) as u128;
    let fits = |place: &&Place| size(place) <= largest;
    let alike = |place: &&Place| {
        !place.in_chapter && fits(place) && (100 - MARGIN..=100 + MARGIN).contains(&size(place))
    };
    let place = places.iter().filter(alike).min_by_key(off);
    let place = place.or_else(|| places.iter().filter(fits).min_by_key(off));
    let place = place.or_else(|| places.iter().min_by_key(off))?;
    let warning = format!(
        "it was cut in two, because a body of {refused} bytes was too large for the endpoint: it counts as one more \
         resume, and progress markers that were passed are set again"
    );
    Split::before(session, &order, place.at, &place.course, warning)
}

/// How much of the payload an event takes, about. Nearly all pings are left out before a session is cut.
fn weight(event: &StoredEvent) -> usize {
    if event.kind == EventType::Ping { event.body.len() } else { event.body.len() * SPARE_PINGS }
}

/// Everywhere a cut does no harm: not in an ad break, not where only an end would be cut off.
fn places(session: &Outgoing, order: &[usize]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut course = Course::default();
    let mut before = 0;
    let mut kept = 0;
    for (at, &n) in order.iter().enumerate() {
        let event = &session.events[n];
        let ending = matches!(event.kind, EventType::SessionComplete | EventType::SessionEnd);
        // Each part must be smaller than the whole for the player's events alone, else cutting would never end.
        let left = order[at..].iter().filter(|n| !session.events[**n].synthetic).count();
        let fits = kept >= 2 && left >= 1 && order.len() - at >= 2;
        if fits && !ending && !course.in_ad_break() && !course.has_ended() {
            places.push(Place {
                at,
                weight: before,
                in_chapter: course.in_chapter(),
                course: course.clone(),
            });
        }
        course.note(event.kind, &event.body);
        kept += usize::from(!event.synthetic || event.kind == EventType::SessionStart);
        before += weight(event);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::EventTimes;
    use crate::session::State;

    fn session(kinds: &[(EventType, i64)]) -> Outgoing {
        let events = kinds
            .iter()
            .enumerate()
            .map(|(n, (kind, second))| StoredEvent {
                kind: *kind,
                seq: i64::try_from(n).unwrap(),
                synthetic: false,
                body: format!(
                    r#"{{"mediaEventType":"{kind}","mediaCollection":{{"playhead":{second},"sessionDetails":{{}}}}}}"#
                ),
                times: EventTimes { said_ms: Some(1_800_000_000_000 + second * 1000), wall_ms: 0, boot_ms: 0 },
            })
            .collect();
        Outgoing {
            id: 7,
            key: "k".into(),
            state: State::Completed,
            identity_map: "{}".into(),
            identity_from_configuration: false,
            player_name: None,
            channel: None,
            implementation: "{}".into(),
            resumes: false,
            timestamp_ms: None,
            timing: crate::journal::Timing::default(),
            frozen: false,
            now_ms: None,
            payload_sum: None,
            attempts: 1,
            answers: 0,
            answering_ms: 0,
            unreached: 0,
            refused_bytes: Some(100),
            fit: None,
            events,
        }
    }

    #[test]
    fn s12_4_a_cut_lies_outside_ad_breaks_and_between_chapters() {
        use EventType as T;
        type Case<'a> = (&'a str, Vec<(T, i64)>, Option<&'a [usize]>);
        let cases: [Case<'_>; 6] = [
            (
                "in the middle",
                vec![(T::SessionStart, 0), (T::Play, 1), (T::Ping, 2), (T::Ping, 3)],
                Some(&[2, 3]),
            ),
            (
                "by time, not by arrival",
                vec![(T::SessionStart, 0), (T::Ping, 9), (T::Play, 1), (T::Ping, 8)],
                Some(&[3, 1]),
            ),
            (
                "not in the break",
                vec![
                    (T::SessionStart, 0),
                    (T::Play, 1),
                    (T::AdBreakStart, 2),
                    (T::AdStart, 3),
                    (T::AdComplete, 4),
                    (T::AdBreakComplete, 5),
                    (T::Play, 6),
                    (T::Ping, 7),
                ],
                Some(&[2, 3, 4, 5, 6, 7]),
            ),
            (
                "rather between chapters than in the very middle",
                vec![
                    (T::SessionStart, 0),
                    (T::Play, 1),
                    (T::ChapterStart, 2),
                    (T::ChapterComplete, 3),
                    (T::ChapterStart, 4),
                    (T::Error, 5),
                    (T::Error, 6),
                    (T::Error, 7),
                ],
                Some(&[4, 5, 6, 7]),
            ),
            ("too short", vec![(T::SessionStart, 0), (T::Play, 1), (T::SessionEnd, 2)], None),
            (
                "one break",
                vec![(T::AdBreakStart, 1), (T::SessionStart, 0), (T::AdStart, 2), (T::AdComplete, 3)],
                None,
            ),
        ];
        for (name, kinds, expected) in cases {
            let session = session(&kinds);
            let split = cut(&session, 100, 100);
            assert_eq!(split.as_ref().map(|split| &split.second[..]), expected, "{name}");
            if let Some(split) = split {
                assert_eq!(split.opening[0].kind, T::SessionStart, "{name}");
                assert!(split.opening[0].body.contains("\"hasResume\":true"), "{name}");
                assert_eq!(split.closing[0].kind, T::SessionEnd, "{name}");
            }
        }
    }

    /// Pings are thinned out before anything is cut: what is left of them weighs little.
    #[test]
    fn s12_4_the_middle_is_that_of_what_is_left() {
        use EventType as T;
        let mut kinds = vec![(T::SessionStart, 0), (T::Play, 1)];
        kinds.extend((0..300).map(|n| (T::Ping, 10 * n + 2)));
        kinds.extend((0..40).map(|n| (T::Error, n + 4000)));
        let session = session(&kinds);
        let split = cut(&session, 100, 100).unwrap();
        assert!((20..=26).contains(&split.second.len()), "{} go to the second part", split.second.len());
        // With nothing but pings it is about their middle.
        let split = cut(&self::session(&kinds[..302]), 100, 100).unwrap();
        assert!((150..=200).contains(&split.second.len()), "{} go to the second part", split.second.len());
    }
    #[test]
    fn s12_4_a_first_part_is_as_large_as_the_endpoint_takes() {
        use EventType as T;
        let mut kinds = vec![(T::SessionStart, 0), (T::Play, 1)];
        kinds.extend((0..98).map(|n| (T::Error, n + 2)));
        for (refused, budget, goes) in
            [(67_554, 65_536, 50), (67_554, 32_768, 67), (67_554, 8192, 89), (67_554, 1, 98), (67_554, 0, 98)]
        {
            let split = cut(&session(&kinds), refused, budget).unwrap();
            assert!(split.second.len().abs_diff(goes) <= 1, "{budget}: {} go", split.second.len());
        }
        // In the midst of a chapter it fits all the same.
        let mut chapter = kinds.clone();
        chapter[2].0 = T::ChapterStart;
        let split = cut(&session(&chapter), 65_536, 32_768).unwrap();
        assert!(split.second.len().abs_diff(53) <= 1, "{} go", split.second.len());
        // A chapter that ends near that place may make the first part smaller, or larger as long as it fits.
        for (ends, budget, goes) in [(20, 32_768, 79), (52, 32_768, 67), (44, 36_000, 55), (75, 65_536, 24)] {
            let mut kinds = kinds.clone();
            kinds[3].0 = T::ChapterStart;
            kinds[ends].0 = T::ChapterComplete;
            kinds.iter_mut().skip(ends + 1).take(1).for_each(|next| next.0 = T::ChapterStart);
            let split = cut(&session(&kinds), 67_554, budget).unwrap();
            assert!(split.second.len().abs_diff(goes) <= 1, "{ends}, {budget}: {} go", split.second.len());
        }
    }
}
