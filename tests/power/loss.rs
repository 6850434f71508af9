//! The power fails at every entry of the log: what was acknowledged is there; with a fault put in, it is noticed.

use std::sync::Mutex;
use std::time::Instant;

use super::scale;
use super::stage::Sabotage;
use super::sweep::{Figures, Sweeper};
use super::workloads::{Workload, empty_journal, record};

/// Images at scale 1.
const IMAGES: f64 = 100_000.0;
/// A control must be caught within so many images.
const CAUGHT_WITHIN: u64 = 2000;

/// Of all images, so many parts of this workload.
fn share(workload: Workload) -> u64 {
    match workload {
        // Each image holds two megabytes.
        Workload::CheckpointEdge => 1,
        _ => 25,
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let images = (IMAGES * scale()) as u64;
    let parts: u64 = Workload::ALL.into_iter().map(share).sum();
    let began = Instant::now();
    let empty = empty_journal();
    // Images made and runs begun of each workload, and whether a run is under way.
    let progress = Mutex::new(Workload::ALL.map(|_| (0_u64, 0_u64, false)));
    let figures = Mutex::new(Workload::ALL.map(|_| Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let sweeper = Sweeper::new();
                loop {
                    let next = {
                        let mut progress = progress.lock().unwrap();
                        let left = |n: usize| {
                            (images * share(Workload::ALL[n])).div_ceil(parts).saturating_sub(progress[n].0)
                        };
                        let open = (0..progress.len()).map(|n| (n, left(n))).filter(|(_, left)| *left > 0);
                        let next = open.min_by_key(|(n, _)| progress[*n].2);
                        next.map(|(n, left)| {
                            let (_, runs, busy) = &mut progress[n];
                            *runs += 1;
                            *busy = true;
                            (n, *runs, left)
                        })
                    };
                    let Some((n, seed, most)) = next else { break };
                    let workload = Workload::ALL[n];
                    let recording = record(workload, seed, None, &empty);
                    let swept = sweeper.sweep(&format!("{workload:?}"), &recording, seed, most, false);
                    {
                        let mut progress = progress.lock().unwrap();
                        progress[n].0 += swept.images;
                        progress[n].2 = false;
                    }
                    figures.lock().unwrap()[n].add(swept);
                }
            });
        }
    });
    let mut total = Figures::default();
    for (workload, figures) in Workload::ALL.into_iter().zip(figures.into_inner().unwrap()) {
        let Figures { images, distinct, opened, .. } = &figures;
        println!("{workload:?}: {images} images, {distinct} distinct, {opened} opened");
        total.add(figures);
    }
    println!(
        "{} images, {} distinct, {} opened, {} violations, {:.1} s",
        total.images,
        total.distinct,
        total.opened,
        total.violations.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(total.violations.is_empty(), "{}", total.violations.join("\n"));
    assert!(total.images >= images, "only {} images", total.images);
}

/// Runs workloads with a fault put in until it is noticed.
fn is_caught(sabotage: Sabotage, workloads: &[Workload]) {
    let empty = empty_journal();
    let sweeper = Sweeper::new();
    for workload in workloads {
        let mut images = 0;
        let mut caught = None;
        for seed in 0.. {
            let recording = record(*workload, seed, Some(sabotage), &empty);
            let name = format!("{sabotage:?}, {workload:?}");
            let figures = sweeper.sweep(&name, &recording, seed, u64::MAX, true);
            images += figures.images;
            caught = figures.violations.into_iter().next();
            if caught.is_some() || images > CAUGHT_WITHIN {
                break;
            }
        }
        let Some(caught) = caught.filter(|_| images <= CAUGHT_WITHIN) else {
            panic!("{sabotage:?}, {workload:?}: not noticed in {images} images");
        };
        println!("noticed after {images} images: {caught}");
    }
}

const EVERY_KIND: [Workload; 4] =
    [Workload::Single, Workload::GroupCommit, Workload::ManySessions, Workload::Delivery];

#[test]
fn commits_that_are_not_synced_are_noticed() {
    is_caught(Sabotage::Normal, &EVERY_KIND);
}

#[test]
fn an_early_acknowledgement_is_noticed() {
    is_caught(Sabotage::EarlyAck, &EVERY_KIND);
}

#[test]
fn a_delivery_that_is_not_synced_is_noticed() {
    is_caught(Sabotage::UnsyncedDelivery, &[Workload::Delivery, Workload::Expiry]);
}

#[test]
fn a_device_that_ignores_flushes_is_noticed() {
    is_caught(Sabotage::NoFlush, &EVERY_KIND);
}
