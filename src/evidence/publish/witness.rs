//! A witness: C2SP's tlog-witness. It is shown that each tree grows from the one it has seen
//! before, and says so with a cosignature and the time.

use super::{CheckpointSink, DEADLINE, runtime};
use anyhow::{Context, bail};
use http::{HeaderMap, StatusCode};
use keyward_delivery::client::{Tls, Url, post};
use keyward_tlog::checkpoint_store::CheckpointStore;
use keyward_tlog::key::WitnessKey;
use keyward_tlog::note::Signed;
use keyward_tlog::tree::{self, Levels};
use keyward_trail::notary::Notary;
use keyward_trail::notary::latest::Latest;
use std::sync::Arc;

/// The path below the witness' prefix.
const ADD_CHECKPOINT: &str = "/add-checkpoint";

/// The witness.
pub struct Witness {
    name: String,
    url: Url,
    key: WitnessKey,
    tls: Option<Tls>,
    levels: Arc<Levels>,
    board: Arc<Latest>,
    kept: CheckpointStore,
    /// The size that it has seen, as far as we know.
    seen: u64,
}

impl Witness {
    /// A witness at a submission prefix.
    pub fn new(prefix: &Url, key: WitnessKey, tls: Option<Tls>, notary: &Notary) -> Self {
        let name = format!("witness {}", signed_note::Verifier::name(&key));
        let url = Url {
            path: format!("{}{ADD_CHECKPOINT}", prefix.path.trim_end_matches('/')),
            ..prefix.clone()
        };
        let (levels, board, kept) =
            (Arc::clone(notary.levels()), Arc::clone(notary.board()), notary.kept().clone());
        Self { name, url, key, tls, levels, board, kept, seen: 0 }
    }

    /// Asks for a cosignature. The witness' own size, when it has seen another.
    fn ask(&self, signed: &Signed) -> anyhow::Result<Result<Vec<u8>, u64>> {
        let proof = tree::consistency(&*self.levels, signed.size(), signed.root(), self.seen)
            .map_err(|e| anyhow::anyhow!("no proof: {e}"))?;
        let mut body = format!("old {}\n", self.seen);
        proof.iter().for_each(|hash| body.push_str(&format!("{hash}\n")));
        body.push('\n');
        body.push_str(&signed.to_string());
        let answer = runtime()?.block_on(post(
            &self.url,
            self.tls.as_ref(),
            HeaderMap::new(),
            body.into(),
            DEADLINE,
            64 * 1024,
        ))?;
        let text =
            || String::from_utf8_lossy(answer.body()).trim().chars().take(200).collect::<String>();
        match answer.status() {
            StatusCode::OK => Ok(Ok(answer.body().to_vec())),
            StatusCode::CONFLICT => Ok(Err(text()
                .parse()
                .with_context(|| format!("{} answers 409 without a size", self.url))?)),
            status => bail!("{} answers {status}: {}", self.url, text()),
        }
    }
}

impl CheckpointSink for Witness {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish(&mut self, signed: &Arc<Signed>) -> anyhow::Result<()> {
        if self.seen > signed.size() {
            bail!(
                "the witness has seen {} records, there are {}: this trail is not the one that it knows",
                self.seen,
                signed.size()
            );
        }
        let lines = match self.ask(signed)? {
            Ok(lines) => lines,
            Err(seen) if seen > signed.size() => {
                // Another checkpoint may be on its way there; if not, the next attempt says so.
                bail!("the witness has seen {seen} records, there are {}", signed.size());
            }
            Err(seen) if seen == self.seen => bail!(
                "the witness has seen another tree of {seen} records: this trail is not the one that it knows"
            ),
            Err(seen) => {
                self.seen = seen;
                match self.ask(signed)? {
                    Ok(lines) => lines,
                    Err(seen) => bail!("the witness has seen {seen} records by now"),
                }
            }
        };
        let cosigned = self
            .board
            .cosign(signed, &lines, &self.key)
            .with_context(|| format!("{} answers without its cosignature", self.url))?;
        self.seen = signed.size();
        self.kept
            .put_cosigned(&cosigned.bytes())
            .context("the cosigned checkpoint cannot be stored")
    }
}
