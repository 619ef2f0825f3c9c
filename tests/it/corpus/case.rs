//! The form of a case (`tests/corpus/README.md`): what is sent, and what must come of it.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One case.
pub struct Case {
    /// Its file, from the corpus' folder, without `.toml`.
    pub name: String,
    /// How it is sent.
    pub over: Vec<Protocol>,
    /// The name that a client asks TLS for; by default that of its Host, where the gateway has it.
    pub sni: Option<String>,
    /// What is sent.
    pub request: Request,
    /// What must come of it.
    pub expect: Expect,
    /// Why it does not come of it yet.
    pub known: Option<String>,
}

/// How a case is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    #[serde(rename = "h1")]
    H1,
    /// HTTP/1.1 in TLS.
    #[serde(rename = "h1-tls")]
    H1Tls,
    /// HTTP/2 in TLS.
    #[serde(rename = "h2")]
    H2,
}

/// What is sent.
pub enum Request {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// A request that every protocol can say.
    Described(Described),
    /// A header block and what follows it, as they are.
    Frames(Frames),
}

/// A request that every protocol can say.
#[derive(Clone)]
pub struct Described {
    pub method: String,
    pub target: String,
    pub host: String,
    /// In order, without Host and what frames the body.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
}

/// How HTTP/1.1 frames a body. HTTP/2 sends Content-Length for `length` and nothing for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// By Content-Length.
    Length,
    /// In chunks.
    Chunked,
    /// No body, and nothing said of one.
    None,
}

/// One stream of HTTP/2.
pub struct Frames {
    /// The header block, in order: nothing is added, lower-cased or checked.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Sent as DATA; without it the header block ends the stream.
    pub body: Option<Vec<u8>>,
    /// A header block behind the body.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The frames are cut in pieces: the block continued, the body padded and in several frames.
    pub pieces: bool,
}

/// What must come of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub verdict: Verdict,
    /// The status of the answer; none when there is no answer.
    pub status: Option<u16>,
    /// The reason in answer and record; none when the call never reached the gate, and is on no
    /// record.
    pub reason: Option<String>,
    /// A policy that must be among those that decided.
    pub policy: Option<String>,
    /// What must arrive, where that does not follow from what is described.
    pub upstream: Option<Arrival>,
}

impl Expect {
    /// The reason on record of a call whose client is told nothing.
    pub fn recorded(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.verdict == Verdict::Closed)
    }
}

/// The three ends of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Forwarded, once, as it came.
    Allowed,
    /// Answered by the gateway; nothing is forwarded.
    Refused,
    /// Neither forwarded nor answered: the connection or the stream ends.
    Closed,
}

/// What must arrive upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    pub method: String,
    pub target: String,
    #[serde(default)]
    pub body: String,
}

/// A case as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    why: String,
    over: Option<Vec<Protocol>>,
    sni: Option<String>,
    call: Option<String>,
    method: Option<String>,
    target: Option<String>,
    host: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    body: Option<String>,
    body_bytes: Option<String>,
    framing: Option<Framing>,
    raw: Option<String>,
    h2: Option<WrittenFrames>,
    expect: Expect,
    known: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFrames {
    headers: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    trailers: Vec<String>,
    #[serde(default)]
    pieces: bool,
}

/// A call of `calls.toml`: what a real client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    method: String,
    target: String,
    host: String,
    headers: Vec<String>,
    body: Option<String>,
}

/// Headers that HTTP/2 does not have.
const HOP_BY_HOP: &[&str] =
    &["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"];

/// Every case below a folder, in the order of their names.
///
/// # Errors
/// All that is wrong, a file at a time.
pub fn load(dir: &Path) -> Result<Vec<Case>, Vec<String>> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| vec![format!("{}: {e}", path.display())])
    };
    let calls: BTreeMap<String, Call> = toml::from_str(&read(&dir.join("calls.toml"))?)
        .map_err(|e| vec![format!("calls.toml: {e}")])?;
    let mut files = Vec::new();
    for folder in std::fs::read_dir(dir)
        .map_err(|e| vec![e.to_string()])?
        .filter_map(Result::ok)
        .filter(|e| e.path().is_dir())
    {
        files.extend(
            std::fs::read_dir(folder.path())
                .map_err(|e| vec![e.to_string()])?
                .filter_map(Result::ok)
                .map(|e| e.path()),
        );
    }
    files.sort();
    let (mut cases, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        let name = name_of(dir, &file);
        match read(&file)
            .map_err(|e| e.concat())
            .and_then(|text| toml::from_str(&text).map_err(|e| e.to_string()))
            .and_then(|w| case(&name, w, &calls))
        {
            Ok(case) => cases.push(case),
            Err(why) => errors.push(format!("{name}: {why}")),
        }
    }
    if errors.is_empty() { Ok(cases) } else { Err(errors) }
}

fn name_of(dir: &Path, file: &Path) -> String {
    let path: PathBuf = file.strip_prefix(dir).unwrap_or(file).to_owned();
    let text = path.to_string_lossy().into_owned();
    text.strip_suffix(".toml").map_or(text.clone(), str::to_owned)
}

fn case(name: &str, written: Written, calls: &BTreeMap<String, Call>) -> Result<Case, String> {
    if written.why.trim().len() < 20 {
        return Err("`why` must say it in a sentence".to_owned());
    }
    let describes = written.call.is_some() || written.method.is_some() || written.target.is_some();
    let request = match (&written.raw, &written.h2) {
        (Some(raw), None) if !describes => Request::Raw(unescape(&fill(raw)?)?),
        (None, Some(frames)) if !describes => Request::Frames(frames_of(frames)?),
        (None, None) => Request::Described(described(&written, calls)?),
        _ => return Err("a case has `raw`, or `h2`, or describes a request".to_owned()),
    };
    let over = written.over.unwrap_or_else(|| match request {
        Request::Raw(_) => vec![Protocol::H1, Protocol::H1Tls],
        Request::Frames(_) => vec![Protocol::H2],
        Request::Described(_) => vec![Protocol::H1, Protocol::H1Tls, Protocol::H2],
    });
    let own = |line: &String| {
        line.split(':')
            .next()
            .is_some_and(|n| HOP_BY_HOP.contains(&n.to_ascii_lowercase().as_str()))
    };
    let fits = |protocol: &Protocol| match (&request, protocol) {
        (Request::Raw(_), Protocol::H2) => Err("`raw` cannot go over h2".to_owned()),
        (Request::Frames(_), Protocol::H1 | Protocol::H1Tls) => {
            Err("`h2` goes over h2 only".to_owned())
        }
        (Request::Described(_), Protocol::H2) if written.headers.iter().any(own) => {
            Err("a header of one hop does not go over h2".to_owned())
        }
        _ => Ok(()),
    };
    over.iter().try_for_each(fits)?;
    check_expectation(&written.expect, &request)?;
    let mut expect = written.expect;
    if let Some(arrival) = &mut expect.upstream {
        arrival.body = fill(&arrival.body)?;
    }
    Ok(Case {
        name: name.to_owned(),
        over,
        sni: written.sni,
        request,
        expect,
        known: written.known,
    })
}

fn check_expectation(expect: &Expect, request: &Request) -> Result<(), String> {
    let wrong = match expect.verdict {
        Verdict::Closed if expect.status.is_some() => "what is closed has no status",
        Verdict::Refused | Verdict::Allowed if expect.status.is_none() => "`status` is missing",
        Verdict::Allowed if expect.reason.is_none() => "`reason` is missing",
        Verdict::Allowed
            if expect.upstream.is_none() && !matches!(request, Request::Described(_)) =>
        {
            "`upstream` is missing: say what must arrive"
        }
        Verdict::Refused | Verdict::Closed if expect.upstream.is_some() => {
            "`upstream` is for what is allowed"
        }
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

fn described(written: &Written, calls: &BTreeMap<String, Call>) -> Result<Described, String> {
    let call = match &written.call {
        Some(name) => {
            Some(calls.get(name).ok_or_else(|| format!("`{name}` is not in calls.toml"))?)
        }
        None => None,
    };
    let part = |own: &Option<String>, of_call: fn(&Call) -> &String, what: &str| {
        let text =
            own.as_ref().or(call.map(of_call)).ok_or_else(|| format!("`{what}` is missing"))?;
        fill(text)
    };
    let body = match (&written.body, &written.body_bytes) {
        (Some(_), Some(_)) => return Err("`body` and `body_bytes` stand side by side".to_owned()),
        (None, Some(bytes)) => unescape(&fill(bytes)?)?,
        (Some(text), None) => fill(text)?.into_bytes(),
        (None, None) => call
            .and_then(|c| c.body.as_ref())
            .map_or(Ok(String::new()), |text| fill(text))?
            .into_bytes(),
    };
    let lines = |lines: &[String]| {
        lines.iter().map(|line| header(line, &body)).collect::<Result<Vec<_>, _>>()
    };
    let own = lines(&written.headers)?;
    let mut headers = call.map_or(Ok(Vec::new()), |c| lines(&c.headers))?;
    let replaced = |name: &str| {
        own.iter()
            .map(|(n, _)| n.as_str())
            .chain(written.without.iter().map(String::as_str))
            .any(|n| n.eq_ignore_ascii_case(name))
    };
    headers.retain(|(name, _)| !replaced(name));
    headers.extend(own);
    Ok(Described {
        method: part(&written.method, |c| &c.method, "method")?,
        target: part(&written.target, |c| &c.target, "target")?,
        host: part(&written.host, |c| &c.host, "host")?,
        headers,
        framing: written.framing.unwrap_or(if body.is_empty() {
            Framing::None
        } else {
            Framing::Length
        }),
        body,
    })
}

fn header(line: &str, body: &[u8]) -> Result<(String, String), String> {
    let line = fill(&line.replace("@{sha256}", &hex::encode(Sha256::digest(body))))?;
    let (name, value) =
        line.split_once(':').ok_or_else(|| format!("the header `{line}` has no colon"))?;
    Ok((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()))
}

fn frames_of(written: &WrittenFrames) -> Result<Frames, String> {
    let block =
        |lines: &[String]| lines.iter().map(|line| pair(line)).collect::<Result<Vec<_>, _>>();
    Ok(Frames {
        headers: block(&written.headers)?,
        body: written.body.as_ref().map(|body| fill(body).map(String::into_bytes)).transpose()?,
        trailers: block(&written.trailers)?,
        pieces: written.pieces,
    })
}

/// A line of a header block. A name may begin with a colon; all behind the next `: ` is the value.
fn pair(line: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let line = fill(line)?;
    let behind_the_first = line.match_indices(": ").map(|(at, _)| at).find(|at| *at > 0);
    let (name, value) = behind_the_first
        .and_then(|at| Some((line.get(..at)?, line.get(at + 2..)?)))
        .ok_or_else(|| format!("`{line}` is not `name: value`"))?;
    Ok((unescape(name)?, unescape(value)?))
}

/// Bytes from text: line breaks are layout, `\r`, `\n`, `\t`, `\\` and `\xNN` are bytes, all else
/// stands for itself.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\n' => {}
            b'\\' => bytes.push(match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    let digits = String::from_utf8(digits).unwrap_or_default();
                    u8::from_str_radix(&digits, 16)
                        .map_err(|_| format!("`\\x{digits}` is no byte"))?
                }
                other => return Err(format!("`\\{}` is no escape", other.map_or(' ', char::from))),
            }),
            other => bytes.push(other),
        }
    }
    Ok(bytes)
}

/// Puts in what a file cannot hold: `@{in 30 days}` is that moment, `@{70000 y}` so many times `y`.
/// In a header `@{sha256}` is the digest of the body.
fn fill(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("@{") {
        let (what, after) = behind.split_once('}').ok_or("`@{` without `}`")?;
        out.push_str(before);
        match what.split_once(' ') {
            Some(("in", days)) => out.push_str(&moment(
                days.strip_suffix(" days")
                    .ok_or_else(|| format!("`@{{{what}}}`: write `in N days`"))?,
            )?),
            Some((count, piece)) => out.push_str(
                &piece.repeat(count.parse().map_err(|_| format!("`@{{{what}}}` is not known"))?),
            ),
            None => return Err(format!("`@{{{what}}}` is not known")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the library's clock would link all of it into whatever reads the corpus"
)]
fn moment(days: &str) -> Result<String, String> {
    let days: u64 = days.parse().map_err(|_| format!("`{days}` is no number of days"))?;
    let then =
        jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60))
            .map_err(|e| e.to_string())?;
    Ok(then.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl Described {
    /// The request in HTTP/1.1.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::None => {}
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        if self.framing == Framing::Chunked {
            for chunk in self.body.chunks(29) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    /// The request as a header block of HTTP/2, whose names are in lower case and of which none is
    /// for one hop.
    pub fn block(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pseudo = [
            (":method", self.method.as_str()),
            (":scheme", "https"),
            (":authority", &self.host),
            (":path", &self.target),
        ];
        let mut block: Vec<(String, String)> =
            pseudo.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        let ends =
            self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        block.extend(ends.filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str())));
        if self.framing == Framing::Length {
            block.push(("content-length".to_owned(), self.body.len().to_string()));
        }
        block.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect()
    }
}
