//! What a journal is put through while its disk is recorded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use afterplay::clock::ManualClock;
use afterplay::journal::Refusal;
use afterplay::session::{Consent, Why};

use super::image::Image;
use super::opened::{self, WALL_MS, policy};
use super::stage::{Done, Recording, Sabotage, Stage, folder, runtime};

/// Everything that can be done to a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One session, one event a commit.
    Single,
    /// Many requests in one commit.
    GroupCommit,
    /// Many sessions of several users.
    ManySessions,
    /// Attempts, waits, deliveries; recording goes on meanwhile.
    Delivery,
    /// Sessions quarantined, expired and dropped, receipts forgotten.
    Expiry,
    /// A user's oldest sessions make room for new ones.
    Eviction,
    /// A journal is made, filled, closed and opened again.
    Creation,
    /// An opt-out, and a new beginning.
    Purge,
    /// A checkpoint after every few commits.
    Checkpoint,
    /// The checkpoint that comes by itself, after 512 pages.
    CheckpointEdge,
}

impl Workload {
    pub(crate) const ALL: [Workload; 10] = [
        Workload::Single,
        Workload::GroupCommit,
        Workload::ManySessions,
        Workload::Delivery,
        Workload::Expiry,
        Workload::Eviction,
        Workload::Creation,
        Workload::Purge,
        Workload::Checkpoint,
        Workload::CheckpointEdge,
    ];
}

/// A journal with nothing in it, closed.
pub(crate) fn empty_journal() -> Image {
    let folder = folder();
    let clock = ManualClock::at(WALL_MS, "the boot before");
    opened::open(&folder.path().join("journal.db"), policy(), &clock).unwrap().close();
    Image::read(folder.path())
}

/// Runs a workload and records it.
pub(crate) fn record(workload: Workload, seed: u64, sabotage: Option<Sabotage>, empty: &Image) -> Recording {
    let base = if workload == Workload::Creation { Image::default() } else { empty.clone() };
    let mut stage = Stage::new(&base, seed);
    stage.sabotage = sabotage;
    if sabotage == Some(Sabotage::Normal) {
        stage.disk.replace_pragma("synchronous", "1");
    }
    stage.disk.ignores_flushes.store(sabotage == Some(Sabotage::NoFlush), Ordering::SeqCst);
    if workload == Workload::Checkpoint {
        stage.disk.replace_pragma("wal_autocheckpoint", "12");
    }
    if workload == Workload::Expiry {
        stage.policy.keep_quarantined_ms = 3_600_000;
        stage.policy.keep_receipts_ms = 3 * 3_600_000;
    }
    if workload == Workload::Eviction {
        stage.policy.evict = true;
        // Three requests of the workload, and not four.
        stage.policy.max_bytes_per_user = 3500;
    }
    stage.open().unwrap();
    runtime().block_on(stage.play(workload)).unwrap();
    stage.close();
    stage.recording(base)
}

impl Stage {
    async fn play(&mut self, workload: Workload) -> Done {
        match workload {
            Workload::Single => {
                self.append(0, "one", true, 1, 0, None).await?;
                for _ in 0..14 {
                    self.append(0, "one", false, 1, 0, None).await?;
                }
                self.complete("one").await
            }
            Workload::GroupCommit => self.together(7).await,
            Workload::ManySessions => self.mixed(16).await,
            Workload::Delivery => self.deliveries().await,
            Workload::Expiry => self.expiry().await,
            Workload::Eviction => {
                for n in 0..9 {
                    if n >= 3 {
                        self.evicts.set(vec![format!("e{}", n - 3)]);
                    }
                    self.append(7, &format!("e{n}"), true, 1, 800, Some(Why::Complete)).await?;
                }
                Ok(())
            }
            Workload::Creation => {
                self.append(0, "first", true, 2, 0, None).await?;
                self.close();
                self.clock.reboot(WALL_MS + 5000, "the second boot");
                self.open().map_err(|error| Refusal::Storage(error.to_string()))?;
                self.append(0, "second", true, 2, 0, None).await
            }
            Workload::Purge => {
                for key in ["a", "b", "c"] {
                    self.append(0, key, true, 2, 0, (key != "c").then_some(Why::Complete)).await?;
                }
                self.deliver("a", &[], &[]).await?;
                self.discard("b").await?;
                self.append(0, "d", true, 3, 0, None).await?;
                self.consent(Consent::Out).await?;
                self.consent(Consent::In).await?;
                self.append(0, "e", true, 2, 0, None).await
            }
            Workload::Checkpoint => {
                self.mixed(9).await?;
                self.deliveries().await
            }
            Workload::CheckpointEdge => {
                self.append(0, "large", true, 1, 0, None).await?;
                // 29 × 64 KB are about 470 pages of the 512.
                for _ in 0..29 {
                    self.append(0, "large", false, 1, 64_000, None).await?;
                }
                while std::fs::metadata(self.path.with_extension("db-wal")).map_or(0, |wal| wal.len())
                    < 505 * (4096 + 24)
                {
                    self.append(0, "large", false, 1, 0, None).await?;
                }
                self.from = self.disk.entries().len();
                for _ in 0..6 {
                    self.append(0, "large", false, 1, 0, None).await?;
                }
                Ok(())
            }
        }
    }

    /// `rounds` times a request for each of ten sessions at once.
    pub(crate) async fn together(&self, rounds: usize) -> Done {
        let keys: Vec<String> = (0..10).map(|n| format!("g{n}")).collect();
        for round in 0..rounds {
            let count = 1 + self.upto(2);
            let requests = keys.iter().map(|key| self.append(0, key, round == 0, count, 0, None)).collect();
            for done in opened::all(requests).await {
                done?;
            }
        }
        Ok(())
    }

    /// Sessions of three users, started and continued in no order.
    pub(crate) async fn mixed(&self, requests: usize) -> Done {
        let mut started: Vec<String> = Vec::new();
        for _ in 0..requests {
            let old = started.get(self.upto(started.len() * 2 + 1)).cloned();
            let start = old.is_none();
            let key = old.unwrap_or_else(|| format!("m{}", started.len()));
            let (count, complete) = (1 + self.upto(3), start && self.upto(4) == 0);
            let owner = 1000 + u32::from(key.as_bytes()[key.len() - 1] % 3);
            self.append(owner, &key, start, count, 0, complete.then_some(Why::Complete)).await?;
            if start && !complete {
                started.push(key);
            } else if complete {
                // Its number is taken, and nothing can be added to it.
                started.push(format!("n{}", started.len()));
                let key = started.last().cloned().unwrap();
                self.append(owner, &key, true, 1, 0, None).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn deliveries(&self) -> Done {
        self.append(0, "live", true, 1, 0, None).await?;
        for key in ["d1", "d2", "d3"] {
            self.append(0, key, true, 1 + self.upto(4), 0, Some(Why::Complete)).await?;
            if self.upto(2) == 0 {
                self.wait(key).await?;
                self.append(0, "live", false, 1, 0, None).await?;
            }
            // Recording goes on while an upload is settled.
            let (settled, recorded) =
                tokio::join!(self.deliver(key, &[], &[]), self.append(0, "live", false, 1, 0, None));
            settled?;
            recorded?;
        }
        Ok(())
    }

    pub(crate) async fn expiry(&self) -> Done {
        for key in ["q1", "q2", "d1", "x"] {
            self.append(0, key, true, 2, 0, Some(Why::Complete)).await?;
        }
        self.quarantine("q1").await?;
        self.deliver("d1", &[], &[]).await?;
        self.discard("x").await?;
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.append(0, "d2", true, 1, 0, Some(Why::Complete)).await?;
        self.deliver("d2", &["q1"], &[]).await?;
        self.quarantine("q2").await?;
        self.clock.advance(Duration::from_secs(2 * 3600));
        self.append(0, "d3", true, 1, 0, Some(Why::Complete)).await?;
        self.deliver("d3", &["q2"], &["d1"]).await
    }

    /// A little of everything, each part whether or not the one before went well.
    pub(crate) async fn everything(&self) {
        let _ = self.append(0, "a", true, 2, 0, None).await;
        let _ = self.together(2).await;
        let _ = self.append(0, "b", true, 2, 0, Some(Why::Complete)).await;
        let _ = self.append(0, "c", true, 1, 0, Some(Why::Complete)).await;
        let _ = self.deliver("b", &[], &[]).await;
        let _ = self.append(0, "a", false, 1, 0, None).await;
        let _ = self.quarantine("c").await;
        let _ = self.discard("c").await;
        let _ = self.complete("a").await;
        let _ = self.append(0, "d", true, 3, 0, None).await;
        let _ = self.wait("a").await;
        let _ = self.append(0, "d", false, 1, 0, None).await;
    }
}
