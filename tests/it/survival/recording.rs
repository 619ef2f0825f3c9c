//! What a run has done to its folder, and what a power cut at any moment would have left of it.
//!
//! The model is as strict as POSIX: bytes and lengths of a file are there for sure once a sync of
//! it has begun after the write and ended; a name, once its folder was synced so. All else is gone,
//! or, in the other variant, there by chance.

use fastrand::Rng;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

type FileId = usize;

#[derive(Debug)]
enum Change {
    Bytes(FileId, u64, Vec<u8>),
    Length(FileId, u64),
    Name(Naming),
}

/// A change of names. What a name stands for was known when it happened.
#[derive(Debug)]
enum Naming {
    File(PathBuf, FileId),
    Folder(PathBuf),
    Moved(PathBuf, PathBuf, FileId),
    Gone(PathBuf),
}

impl Naming {
    /// The folder whose sync makes it durable.
    fn folder(&self) -> &Path {
        let (Self::File(path, _) | Self::Folder(path) | Self::Moved(_, path, _) | Self::Gone(path)) =
            self;
        path.parent().unwrap()
    }
}

/// A sync: of what, and when it began and ended.
#[derive(Debug)]
struct Sync {
    file: Option<FileId>,
    path: PathBuf,
    began: usize,
    ended: usize,
}

/// Something that went out on a socket.
#[derive(Debug)]
pub struct Sent {
    /// Its place among all events.
    pub at: usize,
    pub bytes: Vec<u8>,
}

/// How much survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// Nothing.
    None,
    /// What chance says, with torn writes; names of a folder in their order.
    Some(u64),
    /// Everything: what a kill of the process would leave.
    All,
}

/// A recorded run, or several on the same folder.
pub struct Recording {
    root: PathBuf,
    changes: Vec<(usize, Change)>,
    syncs: Vec<Sync>,
    pub sent: Vec<Sent>,
    /// Number of events.
    pub len: usize,
}

impl Recording {
    /// Reads a record; the folder was there, and empty, when it began.
    pub fn read(log: &Path, root: &Path) -> Self {
        let bytes = std::fs::read(log).unwrap();
        let mut reader = Reader { rest: &bytes };
        let mut recording = Self {
            root: root.canonicalize().unwrap(),
            changes: vec![],
            syncs: vec![],
            sent: vec![],
            len: 0,
        };
        let (mut files, mut names, mut running) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut count = 0;
        while let Some(event) = reader.event() {
            let at = recording.len;
            recording.len += 1;
            let file = files.get(&event.file).copied();
            let change = match event.op {
                1 => {
                    let id = count;
                    count += 1;
                    files.insert(event.file, id);
                    names.insert(event.path.clone(), id);
                    Change::Name(Naming::File(event.path, id))
                }
                2 => Change::Bytes(file.unwrap(), event.at.try_into().unwrap(), event.data),
                3 => Change::Length(file.unwrap(), event.at.try_into().unwrap()),
                4 => {
                    running.insert(event.at, (file, event.path, at));
                    continue;
                }
                5 => {
                    let (file, path, began) = running.remove(&event.at).unwrap();
                    recording.syncs.push(Sync { file, path, began, ended: at });
                    continue;
                }
                6 => {
                    let id = names.remove(&event.path).unwrap();
                    names.insert(event.path2.clone(), id);
                    Change::Name(Naming::Moved(event.path, event.path2, id))
                }
                7 | 9 => {
                    names.remove(&event.path);
                    Change::Name(Naming::Gone(event.path))
                }
                8 => Change::Name(Naming::Folder(event.path)),
                10 => {
                    recording.sent.push(Sent { at, bytes: event.data });
                    continue;
                }
                11 => {
                    let id = names[&event.path];
                    names.insert(event.path2.clone(), id);
                    Change::Name(Naming::File(event.path2, id))
                }
                op => panic!("no event has the number {op}"),
            };
            recording.changes.push((at, change));
        }
        recording
    }

    /// Whether a change at `at` was made durable before `cut`.
    fn is_durable(&self, at: usize, cut: usize, change: &Change) -> bool {
        let same = |sync: &Sync| match change {
            Change::Bytes(file, ..) | Change::Length(file, _) => sync.file == Some(*file),
            Change::Name(naming) => sync.path == naming.folder(),
        };
        self.syncs.iter().any(|sync| sync.began > at && sync.ended < cut && same(sync))
    }

    /// Builds in `to` what a power cut just before event `cut` would have left.
    pub fn rebuild(&self, cut: usize, luck: Luck, to: &Path) {
        let mut rng = Rng::with_seed(if let Luck::Some(seed) = luck { seed } else { 0 });
        let mut contents: HashMap<FileId, Vec<u8>> = HashMap::new();
        let mut names: BTreeMap<PathBuf, Option<FileId>> =
            BTreeMap::from([(self.root.clone(), None)]);
        // Where the names of a folder end to survive by chance.
        let mut ended: HashMap<PathBuf, bool> = HashMap::new();
        for (at, change) in self.changes.iter().filter(|(at, _)| *at < cut) {
            let durable = luck == Luck::All || self.is_durable(*at, cut, change);
            match change {
                Change::Bytes(file, offset, bytes) => {
                    let kept = match luck {
                        _ if durable => bytes.len(),
                        Luck::Some(_) if rng.bool() => {
                            bytes.len()
                                - if rng.u8(0..4) == 0 {
                                    rng.usize(0..=bytes.len()) / 512 * 512
                                } else {
                                    0
                                }
                                .min(bytes.len())
                        }
                        _ => 0,
                    };
                    if kept > 0 {
                        let (content, offset) =
                            (contents.entry(*file).or_default(), usize::try_from(*offset).unwrap());
                        content.resize(content.len().max(offset + kept), 0);
                        content[offset..offset + kept].copy_from_slice(&bytes[..kept]);
                    }
                }
                Change::Length(file, length) => {
                    if durable || (matches!(luck, Luck::Some(_)) && rng.bool()) {
                        contents
                            .entry(*file)
                            .or_default()
                            .resize(usize::try_from(*length).unwrap(), 0);
                    }
                }
                Change::Name(naming) => {
                    let over = ended.entry(naming.folder().to_owned()).or_default();
                    if !durable {
                        *over = *over || !matches!(luck, Luck::Some(_)) || rng.u8(0..3) == 0;
                    }
                    if durable || !*over {
                        apply(naming, &mut names);
                    }
                }
            }
        }
        self.write(&names, &contents, to);
    }

    fn write(
        &self,
        names: &BTreeMap<PathBuf, Option<FileId>>,
        contents: &HashMap<FileId, Vec<u8>>,
        to: &Path,
    ) {
        for (path, file) in names {
            let path = to.join(path.strip_prefix(&self.root).unwrap());
            match file {
                None if path.parent().unwrap().is_dir() => std::fs::create_dir_all(&path).unwrap(),
                // A folder that is gone takes with it what is in it.
                Some(file) if path.parent().unwrap().is_dir() => {
                    std::fs::write(&path, contents.get(file).map_or(&[][..], Vec::as_slice))
                        .unwrap()
                }
                _ => (),
            }
        }
    }
}

fn apply(naming: &Naming, names: &mut BTreeMap<PathBuf, Option<FileId>>) {
    match naming {
        Naming::File(path, file) => drop(names.insert(path.clone(), Some(*file))),
        Naming::Folder(path) => drop(names.insert(path.clone(), None)),
        Naming::Moved(from, to, file) => {
            if names.get(from) == Some(&Some(*file)) {
                names.remove(from);
            }
            names.insert(to.clone(), Some(*file));
        }
        Naming::Gone(path) => drop(names.remove(path)),
    }
}

struct Event {
    op: u32,
    file: i64,
    at: i64,
    path: PathBuf,
    path2: PathBuf,
    data: Vec<u8>,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    fn path(&mut self, length: u32) -> PathBuf {
        PathBuf::from(std::str::from_utf8(self.take(length as usize)).unwrap())
    }

    fn event(&mut self) -> Option<Event> {
        if self.rest.is_empty() {
            return None;
        }
        let [op, path, path2, data] = [(); 4].map(|()| u32::from_ne_bytes(self.number()));
        let [file, at, _] = [(); 3].map(|()| i64::from_ne_bytes(self.number()));
        Some(Event {
            op,
            file,
            at,
            path: self.path(path),
            path2: self.path(path2),
            data: self.take(data as usize).to_vec(),
        })
    }
}
