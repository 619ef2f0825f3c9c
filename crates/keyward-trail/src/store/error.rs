//! What can go wrong with the store.

use super::SCHEMA;
use crate::frame::FrameError;
use crate::segment::SegmentError;
use keyward_core::threads::TooFew;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why the store could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Whoever asked has gone.
    #[error("nobody waits for the answer any more")]
    CalledOff,
    /// Another process has the directory.
    #[error(
        "the trail in `{0}` is held by another process: ask the running gateway with `--url`, or stop it first"
    )]
    InUse(PathBuf),
    /// Nothing can be written, and sled cannot open without writing.
    #[error(
        "the disk of the trail in `{0}` is full, and the trail cannot even be opened: free some space on it first"
    )]
    DiskFull(PathBuf),
    /// The engine would wait for ever for threads that there are not.
    #[error("the storage engine of `{dir}` cannot be started")]
    Threads {
        /// The trail's folder.
        dir: PathBuf,
        /// How many there are.
        source: TooFew,
    },
    /// Sealed segments are there, and the store that goes with them is not.
    #[error(
        "`{0}` has sealed segments of a trail, but not the store that goes with them: `keyward audit salvage --dir {0} --reason WHY` makes it anew"
    )]
    NoStore(PathBuf),
    /// A backup was being restored into the folder.
    #[error("the restore of `{0}` was not finished: restore the backup again, into a new folder")]
    HalfRestored(PathBuf),
    /// The store was being founded anew.
    #[error(
        "the salvage of the trail in `{0}` was not finished: `keyward audit salvage --dir {0} --reason WHY` ends it"
    )]
    HalfSalvaged(PathBuf),
    /// The engine cannot read its own file.
    #[error(
        "the store of the trail in `{dir}` is damaged: {why}. `keyward audit salvage --dir {dir} --reason WHY` makes it anew from the sealed segments and what else can be read, and says what is lost"
    )]
    Damaged {
        /// The trail's folder.
        dir: PathBuf,
        /// What the engine found.
        why: String,
    },
    /// A file or directory of the trail.
    #[error("`{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine's file was taken away while it was open.
    #[error(
        "`{path}` has been removed or replaced under the running gateway; until this process ends, all that was recorded can be copied from `{copy}`: stop what removes it, copy that, put it in its place and start again"
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// Where its bytes can still be read.
        copy: PathBuf,
    },
    /// Something else stands where a file or a folder of the trail should.
    #[error(
        "`{path}` is no {wanted}: move it away, and put the {wanted} back from a backup; without it the next start says what is missing, or makes it anew"
    )]
    Stranger {
        /// Where.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
    /// The engine. Nothing is known about what it wrote.
    #[error("the storage engine failed")]
    Engine(#[source] EngineError),
    /// `fdatasync` failed: what it should have written may be lost, and asking again would not
    /// tell.
    #[error("the data file could not be synced")]
    Sync(#[source] io::Error),
    /// The engine put a value where it is never synced.
    #[error("`{0}` holds a blob file, which the engine does not sync")]
    Blob(PathBuf),
    /// The directory was written by another version.
    #[error("the trail has schema {found}, this program reads schema {SCHEMA}")]
    Schema {
        /// What the directory says, or 0 when it says nothing though it holds records.
        found: u32,
    },
    /// A frame could not be written or read.
    #[error("the frame of record {seq}")]
    Frame {
        /// The frame's first record.
        seq: u64,
        /// Why.
        source: FrameError,
    },
    /// A sealed segment could not be written or read.
    #[error("a sealed part of the trail")]
    Segment(#[from] SegmentError),
    /// A block of a sealed segment could not be read.
    #[error("the block of record {seq}")]
    Block {
        /// The block's first record.
        seq: u64,
        /// Why.
        source: SegmentError,
    },
    /// The store has a note of a sealed segment whose files are not as noted.
    #[error(
        "records {first_seq} to {last_seq} are missing: {why}; restore the file, or let `keyward audit salvage` go on without it"
    )]
    SegmentLost {
        /// The segment's first record.
        first_seq: u64,
        /// Its last.
        last_seq: u64,
        /// What is wrong with its files.
        why: String,
    },
    /// Records are missing, and nothing tells why.
    #[error(
        "records {first_seq} to {last_seq} are missing, and later ones are there: restore the folder, or let `keyward audit salvage` go on without them"
    )]
    Gap {
        /// The first of them.
        first_seq: u64,
        /// The last.
        last_seq: u64,
    },
    /// A record is not sealed yet.
    #[error("record {0} is not sealed yet: its exchange, or one before it, is still open")]
    NotSealed(u64),
    /// A content could not be written or read.
    #[error("the body of record {seq}: {why}")]
    Content {
        /// The record.
        seq: u64,
        /// Why.
        why: String,
    },
}

/// What the storage engine says, in its own words.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Of the system.
    #[error("IO error: {0}")]
    Io(io::Error),
    /// Of its own file, which is not as it was written.
    #[error("{0}")]
    Corrupt(String),
    /// Of itself.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    /// What to do when it keeps the trail from being opened, to be put behind what is said; empty
    /// where the error says it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Engine(EngineError::Io(_)) | Self::Sync(_) => {
                "; see to its disk, then start again"
            }
            Self::Frame { .. } | Self::Block { .. } | Self::Engine(EngineError::Corrupt(_)) => {
                "; `keyward audit salvage` makes a trail again of what can be read, and says what is lost"
            }
            _ => "",
        }
    }

    /// Whether the store's own file is not as it was written, or half made anew, so that salvage
    /// helps.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Gap { .. }
                | Self::NoStore(_)
                | Self::HalfSalvaged(_)
                | Self::Frame { .. }
                | Self::Engine(EngineError::Corrupt(_))
        )
    }

    /// Whether the system did not do what it was asked for: that tells nothing of what is in the
    /// files.
    pub fn is_of_the_system(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() != ErrorKind::NotFound,
            Self::DiskFull(_)
            | Self::Threads { .. }
            | Self::Engine(EngineError::Io(_))
            | Self::Sync(_) => true,
            _ => false,
        }
    }

    /// Whether a batch was not even handed to the engine, for want of memory: the same one may be
    /// appended later.
    pub fn can_be_tried_again(&self) -> bool {
        matches!(self, Self::Frame { source: FrameError::Compression(_), .. })
    }

    /// Whether the disk has no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. }
            | Self::Sync(source)
            | Self::Engine(EngineError::Io(source)) => source.kind() == ErrorKind::StorageFull,
            _ => false,
        }
    }
}
