use super::*;

const DATE: &str = "Sun, 22 Nov 2026 21:40:00 GMT";
const DATE_MS: i64 = 1_795_383_600_500;

fn dated(date: &str) -> Answer {
    Answer { status: 404, date: Some(date.to_owned()), ..Answer::default() }
}

fn took(answer: Answer, began: i64, ended: i64) -> Answer {
    Answer { between: (began, ended), ..answer }
}

fn dateless(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

#[test]
fn a_date_is_the_middle_of_its_second_in_the_middle_of_the_round_trip() {
    let seen = |boot_ms, uncertainty_ms| Told::Date(DateSeen { boot_ms, date_ms: DATE_MS, uncertainty_ms });
    assert_eq!(told(&took(dated(DATE), 1000, 1300)), seen(1150, 1150));
    assert_eq!(told(&took(dated(DATE), 1300, 1000)), seen(1300, 1000));
    assert!(matches!(told(&dated("Fri, 13 Mar 2106 10:00:00 GMT")), Told::Date(_)));
}

#[test]
fn only_an_answer_in_time_and_in_health_says_that_there_is_no_clock() {
    for status in [200, 204, 301, 404, 405] {
        assert_eq!(told(&took(dateless(status), 0, 20_000)), Told::Nothing, "{status}");
    }
    let useless = |answer: Answer, ended| {
        assert!(matches!(told(&took(answer.clone(), 0, ended)), Told::Useless(_)), "{answer:?}")
    };
    useless(dated(DATE), 20_001);
    useless(dateless(204), 20_001);
    for status in [500, 502, 503, 504] {
        useless(dateless(status), 0);
    }
    for date in ["", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 31 Oct 2026 23:59:59 GMT"] {
        useless(dated(date), 0);
    }
    for age in ["1", "36000", "old"] {
        useless(Answer { age: Some(age.to_owned()), ..dated(DATE) }, 0);
    }
    let fresh = Answer { age: Some(" 0".to_owned()), ..dated(DATE) };
    assert!(matches!(told(&fresh), Told::Date(_)));
}

#[test]
fn a_date_before_what_is_sure_is_believed_only_if_it_goes_on() {
    let floor = DATE_MS;
    let seen = |boot_ms, date_ms| DateSeen { boot_ms, date_ms, uncertainty_ms: 1500 };
    const HOUR: i64 = 3_600_000;
    // When each answer came, how late it said that it is, and whether that was believed.
    let cases: [(&str, &[(i64, i64, bool)]); 6] = [
        ("after it", &[(0, 0, true), (1000, HOUR, true)]),
        ("a minute", &[(0, -BEHIND_MS, true), (0, -BEHIND_MS - 1, false)]),
        ("kept", &[(0, -HOUR, false), (5000, -HOUR, false), (10_000, -HOUR, false), (20_000, -HOUR, false)]),
        ("too soon", &[(0, -HOUR, false), (6000, 6000 - HOUR, false), (7000, 7000 - HOUR, true)]),
        ("goes on", &[(0, -HOUR, false), (20_000, 20_000 - HOUR, true), (40_000, 40_000 - HOUR, true)]),
        ("two caches", &[(0, -HOUR, false), (20_000, -2 * HOUR, false), (40_000, -HOUR, false)]),
    ];
    for (name, answers) in cases {
        let mut asking = Asking::default();
        for (at, date, believed) in answers {
            assert_eq!(asking.believes(&seen(*at, DATE_MS + date), floor), *believed, "{name} {at}");
        }
    }
}

#[test]
fn one_answer_without_a_date_ends_no_asking() {
    let (wait, longest) = (Duration::from_secs(5), Duration::from_secs(3600));
    let (date, none) = (told(&dated(DATE)), told(&dateless(204)));
    let trouble = told(&dateless(503));
    for (answers, dateless) in [
        (&[none][..], false),
        (&[none, none], false),
        (&[none, none, none], true),
        (&[none, none, trouble, none], false),
        (&[none, none, none, date], false),
        (&[trouble; 9], false),
    ] {
        let mut asking = Asking::default();
        for answer in answers {
            asking.hear(*answer, 1000, wait, longest);
        }
        assert_eq!(asking.is_dateless(), dateless, "{answers:?}");
        assert_eq!(
            asking.not_before,
            if dateless { 3_601_000 } else { 6000 },
            "it is asked again: {answers:?}"
        );
        assert_eq!(asking.seen.is_some(), answers.last() == Some(&date));
        asking.begin_anew();
        assert!(
            !asking.is_dateless() && asking.not_before < 0,
            "a new path, a set clock or a person: {answers:?}"
        );
        asking.hear(none, 1000, wait, longest);
        assert_eq!(asking.is_dateless(), dateless || answers.ends_with(&[none, none]), "{answers:?}");
    }
}
