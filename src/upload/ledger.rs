//! What is still to be written to the journal.
//!
//! An answer of the endpoint cannot be undone by a disk that refuses to take it down: it is kept here and written as
//! soon as the disk lets it, while the uploader stays able to listen.

use std::collections::VecDeque;
use std::time::Duration;

use super::book::Book;
use super::retry::Backoff;
use crate::journal::{Journal, Refusal, Settlement};

/// Between two tries when the journal refuses, doubled up to the second one.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When to ask a journal again that refused.
#[derive(Debug, Default)]
pub(super) struct Patience {
    refused: u32,
    until: Option<i64>,
}

impl Patience {
    /// Boot time before which it is of no use to ask, if that lies ahead.
    pub(super) fn until(&self, now_ms: i64) -> Option<i64> {
        self.until.filter(|until| *until > now_ms)
    }

    /// It refused; answers the boot time to ask again at.
    pub(super) fn refused(&mut self, now_ms: i64) -> i64 {
        self.refused = self.refused.saturating_add(1);
        let wait = Backoff::new(AGAIN.0, AGAIN.1).unwrap_or_default().ceiling(self.refused);
        let until = now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        self.until = Some(until);
        until
    }

    /// It did what it was asked.
    pub(super) fn granted(&mut self) {
        *self = Patience::default();
    }
}

/// What is still to be written.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    settlements: VecDeque<Settlement>,
    book: bool,
    network_waits: bool,
    patience: Patience,
}

impl Ledger {
    /// How an attempt ended.
    pub(super) fn settle(&mut self, settlement: Settlement) {
        self.settlements.push_back(settlement);
    }

    /// The book has changed.
    pub(super) fn keep_book(&mut self) {
        self.book = true;
    }

    /// Nothing waits for the network any more.
    pub(super) fn end_network_waits(&mut self) {
        self.network_waits = true;
    }

    /// The journal is asked again at once, although it refused.
    pub(super) fn hurry(&mut self) {
        self.patience.granted();
    }

    /// Sessions whose last attempt is not settled yet.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = i64> {
        self.settlements.iter().map(|settlement| settlement.id)
    }

    /// Forgets everything: what it was about has been erased.
    pub(super) fn clear(&mut self) {
        *self = Ledger::default();
    }

    /// How an attempt ended, if that is all there is to write and may be written now.
    pub(super) fn take_only(&mut self, book: &Book, now_ms: i64) -> Option<Settlement> {
        let is_all = self.settlements.len() == 1 && !self.network_waits && !self.book;
        if !is_all || self.patience.until(now_ms).is_some() {
            return None;
        }
        let book = text_of(book).ok()?;
        self.settlements.pop_front().map(|settlement| Settlement { book, ..settlement })
    }

    /// What was taken out is in the journal.
    pub(super) fn written(&mut self) {
        self.patience.granted();
    }

    /// Writes what can be written. Answers the boot time to try again at, if something is left.
    pub(super) async fn write(&mut self, journal: &Journal, book: &Book, now_ms: i64) -> Option<i64> {
        if let Some(until) = self.patience.until(now_ms) {
            return Some(until);
        }
        match self.try_write(journal, book).await {
            Ok(()) => {
                self.patience.granted();
                None
            }
            Err(refusal) => {
                tracing::warn!("what became of an upload could not be written down yet: {refusal}");
                Some(self.patience.refused(now_ms))
            }
        }
    }

    /// Each is tried, so that one that cannot be written does not hold up the others.
    async fn try_write(&mut self, journal: &Journal, book: &Book) -> Result<(), Refusal> {
        let book = text_of(book)?;
        let mut refused = Ok(());
        for settlement in std::mem::take(&mut self.settlements) {
            let now = Settlement { book: book.clone(), ..settlement.clone() };
            match journal.settle(now).await {
                Ok(()) => self.book = false,
                Err(refusal) => {
                    refused = Err(refusal);
                    self.settlements.push_back(settlement);
                }
            }
        }
        if self.network_waits {
            match journal.end_network_waits().await {
                Ok(()) => self.network_waits = false,
                Err(refusal) => refused = Err(refusal),
            }
        }
        if self.book {
            match journal.set_book(book).await {
                Ok(()) => self.book = false,
                Err(refusal) => refused = Err(refusal),
            }
        }
        refused
    }
}

fn text_of(book: &Book) -> Result<String, Refusal> {
    serde_json::to_string(book).map_err(|error| Refusal::Storage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_refuses_is_asked_ever_more_seldom() {
        let mut patience = Patience::default();
        let mut now = 0;
        assert_eq!(patience.until(now), None);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(patience.refused(now), now + seconds * 1000);
            assert_eq!(patience.until(now), Some(now + seconds * 1000));
            now += seconds * 1000;
            assert_eq!(patience.until(now), None);
        }
        patience.granted();
        assert_eq!(patience.refused(now), now + 1000);
    }
}
