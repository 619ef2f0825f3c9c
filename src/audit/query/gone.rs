//! What is gone from the trail, asked by the id of an exchange that it does not have.

use super::Reader;
use crate::audit::absent::Absent;
use crate::audit::store::StoreError;
use crate::clock::{AuditId, Timestamp};

/// An id is made about when its exchange is recorded.
const ABOUT_NANOS: u64 = 1_000_000_000;

impl Reader {
    /// The records that are gone, if some are, where an exchange with this id would stand by the time in it.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub(in crate::audit) fn gone_about(&self, id: AuditId) -> Result<Option<Absent>, StoreError> {
        let gone = self.store.absent();
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
