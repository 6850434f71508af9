//! Several boots without a clock, and then one with. A boot is told from another by its id, which a mount namespace of
//! the service's own has a file for.

use std::path::Path;
use std::process::{Command, Stdio};

use super::endpoint::Validity;
use super::service::{programme, wait_for};
use super::{CONFIG, Device, back_to_1970, call_by, now_ms};

const NOWHERE: &str = "https://127.0.0.1:9/ee/va/v1/downloaded";

/// Calls the program in a boot of this name.
fn in_boot(name: &str, folder: &Path, command: &mut Command) {
    let id = folder.join("boot_id");
    std::fs::write(&id, format!("{name}\n")).unwrap();
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let mut booted = Command::new("unshare");
    booted.args(["--mount", "sh", "-c", script]).arg(&id);
    call_by(booted, command);
}

fn namespaces_work(folder: &Path) -> bool {
    let mut tried = Command::new("true");
    in_boot("tried", folder, &mut tried);
    let works = tried.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !works {
        println!("skipped: mount namespaces cannot be made here (unshare --mount, as root)");
    }
    works
}

#[test]
fn boots_without_a_clock_are_bracketed_by_the_one_that_has_one() {
    let Some(device) = Device::new(Validity::Now, "") else { return };
    let folder = device.place.dir.path();
    if !namespaces_work(folder) {
        return;
    }
    device.place.configure(NOWHERE, CONFIG);
    let boots = ["boot-1", "boot-2", "boot-3"];
    for boot in boots {
        // Each begins at the same moment of 1970, as such boxes do.
        let service = device.start_with(back_to_1970(), |command| in_boot(boot, folder, command));
        for mut event in programme(boot).into_iter().take(3) {
            event.as_object_mut().unwrap().remove("mediaEventTimestamp");
            service.record(boot, &event);
        }
        service.kill();
    }

    device.place.configure(&device.endpoint.url(), CONFIG);
    let service = device.start_with(0, |command| in_boot("boot-4", folder, command));
    for boot in boots {
        let session = service.wait_for_state(boot, "delivered");
        assert_eq!((&session["why"], &session["time"]), (&"boot".into(), &"estimated".into()), "{session}");
    }
    let payloads =
        wait_for("all payloads", || Some(device.payloads()).filter(|all| all.len() == boots.len()));
    let mut times = payloads.concat();
    times.sort_unstable();
    for payload in &payloads {
        assert!(payload[0] >= afterplay::clock::BUILT_MS, "{payload:?}");
        assert!(payload[2] <= now_ms() && payload[2] - payload[0] < 60_000, "{payload:?}");
    }
    // Whichever went out first, no session reaches into that of another boot.
    let mut in_order = payloads.clone();
    in_order.sort_unstable();
    assert_eq!(in_order.concat(), times);
    let first = |name: &str| super::at(&service.get(&format!("/v1/sessions/{name}"))["started_at"]);
    assert!(first("boot-1") < first("boot-2") && first("boot-2") < first("boot-3"));
}
