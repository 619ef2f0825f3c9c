//! A running gateway, asked over its admin listener.

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use keyward_delivery::client;
use keyward_record::Content;
use keyward_tlog::checkpoint_store::{HistoricCheckpoint, history};
use keyward_tlog::key::LogKey;
use keyward_tlog::layout::{CHECKPOINT, COSIGNED, HISTORY, KEYS, Resource};
use keyward_tlog::note::Signed;
use keyward_tlog::source::{Resources, Runs, Source, Tombstone, absent_of, bundles, tile_of};
use keyward_tlog::tree::Tiles;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use tokio::runtime::Runtime;

/// The gateway, as it stood when it was first asked.
pub struct Gateway {
    url: String,
    authority: String,
    address: SocketAddr,
    runtime: Runtime,
    checkpoint: Vec<u8>,
    history: Vec<HistoricCheckpoint>,
    end: u64,
}

impl Gateway {
    /// Asks for the newest checkpoint; all else is read as it was then.
    ///
    /// # Errors
    /// When nobody answers, or there is no checkpoint yet.
    pub fn open(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = rest
            .with_context(|| {
                format!("--url {url}: write http://ADDRESS:PORT of the admin listener")
            })?
            .to_owned();
        let address = authority
            .to_socket_addrs()
            .with_context(|| format!("--url {url}"))?
            .next()
            .with_context(|| format!("--url {url}: no address"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let unreachable = || format!("no gateway answers at {url}; for a stopped one give --dir");
        let mut gateway = Self {
            url: url.to_owned(),
            authority,
            address,
            runtime,
            checkpoint: Vec::new(),
            history: Vec::new(),
            end: 0,
        };
        // Before the newest: so none is kept over more records than that is signed over, unless
        // records were taken away.
        let kept = gateway.ask(HISTORY).with_context(unreachable)?.unwrap_or_default();
        gateway.history = history(&String::from_utf8_lossy(&kept));
        let note = gateway.ask(CHECKPOINT).with_context(unreachable)?;
        gateway.checkpoint =
            note.with_context(|| format!("the gateway at {url} has no checkpoint yet"))?.to_vec();
        gateway.end = Signed::parse(&gateway.checkpoint).map_or(0, |signed| signed.size());
        Ok(gateway)
    }

    /// What is at a path. `None` when there is nothing.
    ///
    /// # Errors
    /// When nobody answers, or with an error.
    pub fn ask(&self, path: &str) -> anyhow::Result<Option<Bytes>> {
        let request = http::Request::get(path).header("host", &self.authority).body(Bytes::new())?;
        let answer = self.runtime.block_on(client::send(self.address, request))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.into_body())),
            StatusCode::NOT_FOUND => Ok(None),
            status => anyhow::bail!(
                "{path}: the gateway answers {status}: {}",
                String::from_utf8_lossy(answer.body()).trim()
            ),
        }
    }

    fn text(&self, path: &str) -> io::Result<String> {
        let bytes = self.ask(path).map_err(io::Error::other)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Resources for Gateway {
    fn get(&self, resource: Resource) -> io::Result<Bytes> {
        let path = resource.path();
        let found = self.ask(&path).map_err(|error| io::Error::other(format!("{error:#}")))?;
        found.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("the gateway does not have {path}"))
        })
    }

    fn beside(&self, path: &str) -> io::Result<String> {
        self.text(path)
    }
}

impl Tiles for Gateway {
    fn tile(&self, level: u8, n: u64, width: u32) -> io::Result<Vec<u8>> {
        tile_of(self, level, n, width)
    }
}

impl Source for Gateway {
    fn name(&self) -> String {
        self.url.clone()
    }

    fn checkpoint(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(self.checkpoint.clone()))
    }

    fn cosigned(&self) -> io::Result<Option<Vec<u8>>> {
        let cosigned = self.ask(COSIGNED).map_err(io::Error::other)?;
        // One that came after all else was read would prove nothing about it.
        Ok(cosigned
            .filter(|note| Signed::parse(note).is_ok_and(|signed| signed.size() <= self.end))
            .map(|note| note.to_vec()))
    }

    fn history(&self) -> io::Result<Vec<HistoricCheckpoint>> {
        Ok(self.history.clone())
    }

    fn keys(&self) -> io::Result<Vec<LogKey>> {
        self.text(KEYS)?.lines().map(|line| LogKey::parse(line).map_err(io::Error::other)).collect()
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.end)
    }

    fn ends_by_checkpoint(&self) -> bool {
        true
    }

    fn absent(&self) -> io::Result<Vec<Tombstone>> {
        absent_of(self)
    }

    fn runs(&self, first: u64, end: u64) -> Runs<'_> {
        bundles(self, first, self.end.min(end))
    }

    fn has_tiles(&self) -> bool {
        true
    }

    fn content(&self, _: u64) -> io::Result<Option<Content>> {
        Ok(None)
    }

    fn has_content(&self) -> bool {
        false
    }
}
