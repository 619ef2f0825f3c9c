//! What goes wrong with upstreams, and what it is called.

use super::answer::UpstreamFault;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};

/// An answer that comes, but too slowly. pingora takes the side on which it is found for the one
/// whose fault it is.
const TOO_SLOW: ErrorType = ErrorType::Custom("AnswerTooSlow");

/// The error of an upstream that drips.
pub(super) fn too_slow(what: &'static str) -> Box<Error> {
    Error::explain(TOO_SLOW, what).into_up()
}

/// Whether it is that one.
pub(super) fn is_too_slow(e: &Error) -> bool {
    *e.etype() == TOO_SLOW
}

/// Why a head that an upstream sent answers nothing that was asked.
pub(super) fn no_answer(response: &ResponseHeader) -> Option<&'static str> {
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Some("the upstream switched protocols, which nobody had asked for");
    }
    let mut codings = response.headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let chunked =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    (!chunked || codings.next().is_some())
        .then_some("the upstream's Transfer-Encoding is not exactly `chunked`")
}

/// The classes of errors, for metrics.
pub const CLASSES: [&str; 4] = ["connect", "tls", "timeout", "cut"];

/// What an error was, to the caller and in metrics.
pub(super) struct Fault {
    pub answer: UpstreamFault,
    pub class: &'static str,
}

/// Sorts an error.
pub(super) fn classify(e: &Error) -> Fault {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout,
        InvalidCert, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
        WriteTimedout,
    };
    let (answer, class) = match e.etype() {
        slow if *slow == TOO_SLOW => (UpstreamFault::Timeout, "timeout"),
        ReadTimedout | WriteTimedout => (UpstreamFault::Timeout, "timeout"),
        ConnectTimedout | TLSHandshakeTimedout => (UpstreamFault::Unreachable, "timeout"),
        TLSHandshakeFailure | InvalidCert => (UpstreamFault::Unreachable, "tls"),
        ConnectError | ConnectNoRoute | ConnectRefused | ConnectProxyFailure | SocketError => {
            (UpstreamFault::Unreachable, "connect")
        }
        _ => (UpstreamFault::Broken, "cut"),
    };
    Fault { answer, class }
}

/// An error for the record: its type, whose it is and its cause. pingora's texts hold addresses, no
/// content.
pub(super) fn say(e: &Error) -> String {
    if is_too_slow(e) {
        return "the upstream's answer came too slowly: see upstreams.read_ms and upstreams.answer_bytes_per_second_min".to_owned();
    }
    let text: String = e.to_string().chars().take(400).collect();
    text.trim().to_owned()
}
