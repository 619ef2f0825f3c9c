//! Which exchanges are open: forwarded, and not answered yet.

use keyward_core::clock::AuditId;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Closed exchanges that are remembered, so that a late second answer is acknowledged with the
/// first one's receipt.
const CLOSED_MAX: usize = 16_384;

/// The open exchanges, and the last few closed ones.
#[derive(Debug, Default)]
pub(super) struct OpenExchanges {
    seq_of: HashMap<AuditId, u64>,
    seqs: BTreeSet<u64>,
    closed: HashMap<AuditId, u64>,
    closed_order: VecDeque<AuditId>,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is the first: record it.
    First,
    /// The exchange was closed by the answer with this sequence number.
    Already(u64),
    /// No such exchange was opened, or it was closed long ago.
    NotOpen,
}

impl OpenExchanges {
    /// The exchange's request stands at `seq`.
    pub fn open(&mut self, id: AuditId, seq: u64) {
        if let Some(before) = self.seq_of.insert(id, seq) {
            self.seqs.remove(&before);
        }
        self.seqs.insert(seq);
    }

    /// The exchange's answer wants to stand at `seq`.
    pub fn close(&mut self, id: AuditId, seq: u64) -> Closing {
        let Some(opened) = self.seq_of.remove(&id) else {
            return self.closed.get(&id).map_or(Closing::NotOpen, |first| Closing::Already(*first));
        };
        self.seqs.remove(&opened);
        if self.closed_order.len() == CLOSED_MAX
            && let Some(oldest) = self.closed_order.pop_front()
        {
            self.closed.remove(&oldest);
        }
        self.closed.insert(id, seq);
        self.closed_order.push_back(id);
        Closing::First
    }

    /// The lowest sequence number of an open exchange's request; `next_seq` when none is open.
    pub fn floor(&self, next_seq: u64) -> u64 {
        self.seqs.first().copied().unwrap_or(next_seq)
    }

    /// The open exchanges, the oldest first.
    pub fn ids(&self) -> Vec<AuditId> {
        let mut ids: Vec<_> = self.seq_of.iter().map(|(id, seq)| (*seq, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_wins_and_the_floor_follows() {
        let (a, b) = (AuditId::new(), AuditId::new());
        let mut set = OpenExchanges::default();
        set.open(a, 3);
        set.open(b, 5);
        assert_eq!((set.floor(9), set.ids()), (3, vec![a, b]));
        assert_eq!(set.close(a, 7), Closing::First);
        assert_eq!(set.close(a, 8), Closing::Already(7));
        assert_eq!(set.floor(9), 5);
        assert_eq!(set.close(b, 8), Closing::First);
        assert_eq!(set.floor(9), 9);
        assert_eq!(set.close(AuditId::new(), 10), Closing::NotOpen);
    }

    #[test]
    fn memory_of_closed_exchanges_is_bounded() {
        let mut set = OpenExchanges::default();
        let first = AuditId::new();
        for (n, id) in std::iter::once(first)
            .chain(std::iter::repeat_with(AuditId::new))
            .take(CLOSED_MAX + 1)
            .enumerate()
        {
            set.open(id, n as u64);
            set.close(id, n as u64);
        }
        assert_eq!((set.closed.len(), set.closed_order.len()), (CLOSED_MAX, CLOSED_MAX));
        assert_eq!(set.close(first, 0), Closing::NotOpen);
    }
}
