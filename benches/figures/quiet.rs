//! What the service costs when there is little or nothing to do.

use std::time::Duration;

use super::Options;
use super::backlog::mib;
use super::events::Events;
use super::process;
use super::report::{Goal, Row, Rows};
use super::service::{Mode, NOBODY, Place, Service};

/// Events of an evening in front of the television, and the sessions they belong to.
const EVENING: usize = 3200;
const PROGRAMMES: usize = 8;
/// Between two events: hours become seconds, and no two events share a commit.
const PACE: Duration = Duration::from_millis(2);
/// For what a start leaves to be done.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn rows(options: &Options, rows: &mut Rows) {
    if options.wants("binary") {
        let bytes = std::fs::metadata(super::service::binary()).unwrap().len();
        rows.push(Row::plain("binary, stripped", bytes as f64 / 1e6, "MB", Goal::AtMost(7.0)));
    }
    if options.wants("memory idle") || options.wants("wakeups idle") {
        let place = Place::new();
        let service = place.start(NOBODY, Mode::Binary);
        std::thread::sleep(SETTLE);
        rows.push(mib("memory idle", process::resident_kib(service.pid()), Goal::AtMost(8.0)));
        let anonymous = process::anonymous_kib(service.pid());
        rows.push(mib("memory idle, without file pages", anonymous, Goal::None));
        wakeups("wakeups idle", &service, options, rows);
    }
    if options.wants("evening") {
        evening(rows);
    }
}

/// Counts over the time that the options give it.
pub(crate) fn wakeups(name: &str, service: &Service<'_>, options: &Options, rows: &mut Rows) {
    if !options.wants(name) {
        return;
    }
    std::thread::sleep(SETTLE);
    let before = process::wakeups(service.pid());
    std::thread::sleep(options.quiet);
    let woken = (process::wakeups(service.pid()) - before) as f64;
    let name = format!("{name}, in {} s", options.quiet.as_secs());
    rows.push(Row::plain(&name, woken, "", Goal::AtMost(0.0)));
}

fn evening(rows: &mut Rows) {
    let endpoint = super::endpoint::Endpoint::start();
    let place = Place::new();
    let service = place.start(&endpoint.url(), Mode::Binary);
    let (mut client, mut events, mut request) = (service.client(), Events::new(), Vec::new());
    for programme in 0..PROGRAMMES {
        let key = format!("programme-{programme}");
        client.start(&key);
        for _ in 1..EVENING / PROGRAMMES {
            events.request(&key, 1, &mut request);
            client.send(&request);
            std::thread::sleep(PACE);
        }
        client.ask("POST", &format!("/v1/sessions/{key}/complete"));
    }
    while client.status()["sessions"]["delivered"] != PROGRAMMES {
        std::thread::sleep(Duration::from_millis(100));
    }
    let cpu = process::cpu_seconds(service.pid());
    rows.push(Row::plain("processor time of an evening of 3200 events", cpu, "s", Goal::AtMost(2.0)));
}
