//! What is gone from the trail, where a question looks: an answer must not pass for all there was.

use super::Reader;
use crate::filter::Filter;
use crate::store::StoreError;
use crate::tombstone::Tombstone;
use keyward_core::clock::{AuditId, Timestamp};

/// An id is made about when its exchange is recorded.
const ABOUT_NANOS: u64 = 1_000_000_000;

impl Reader {
    /// The records that are gone, and may have matched a filter by when they were made.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub(crate) fn gone_within(&self, filter: &Filter) -> Result<Vec<Tombstone>, StoreError> {
        let mut gone = self.store.tombstones();
        if !gone.is_empty() {
            // A time stands for the first record that is not earlier, and what is gone right before
            // that may be as late.
            let wanted = self.question(filter)?.0.range();
            gone.retain(|gone| gone.end >= wanted.start && gone.first_seq < wanted.end);
        }
        Ok(gone)
    }

    /// The records that are gone, if some are, where an exchange with this id would stand by the
    /// time in it.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub(crate) fn gone_about(&self, id: AuditId) -> Result<Option<Tombstone>, StoreError> {
        let gone = self.store.tombstones();
        let Some(made) = id.0.get_timestamp().filter(|_| !gone.is_empty()) else { return Ok(None) };
        let (seconds, nanos) = made.to_unix();
        let made = seconds.saturating_mul(1_000_000_000).saturating_add(nanos.into());
        let durable = self.durable();
        // What is gone has no time any more: it stands before the first record that is not earlier.
        let from = self.first_at(Timestamp(made.saturating_sub(ABOUT_NANOS)), durable)?;
        let to = self.first_at(Timestamp(made.saturating_add(ABOUT_NANOS)), durable)?;
        Ok(gone.into_iter().find(|gone| gone.end >= from && gone.first_seq <= to))
    }
}

/// What is said of an exchange that is not there: also what is gone where it would stand.
pub(crate) fn no_exchange(id: AuditId, gone: Option<Tombstone>) -> String {
    let at_its_time = gone.map_or(String::new(), |gone| format!("; at its time stood {gone}"));
    format!("the trail has no exchange {id}{at_its_time}")
}
