//! The closed list of reasons. One code serves the record, the answer, the metrics and the
//! documentation alike.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal;)+) => {
        /// Why a call was allowed or refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason there is, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code, as it stands in records, answers and metric labels.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status of the refusal; 200 for what is not one.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// One sentence for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }
    };
}

reasons! {
    /// A policy permits the call and none forbids it.
    Permitted = "permitted", 200;
    /// The path belongs to a family that the catalogue lists as passing unread, the caller is known, and a policy permits it.
    Passthrough = "passing", 200;
    /// A policy forbids the call.
    Forbidden = "policy-forbids", 403;
    /// No policy permits the call to this caller.
    NotPermitted = "no-policy-permits", 403;
    /// The caller is not known to the gateway, and no policy permits the call to anonymous callers.
    CallerUnknown = "caller-unknown", 401;
    /// A policy could not be evaluated, so the call is refused.
    PolicyError = "policy-error", 403;
    /// The host belongs to no service of the catalogue.
    HostUnknown = "host-unknown", 403;
    /// The method and path match no operation of the catalogue, so the call is refused.
    OperationUnknown = "operation-unknown", 403;

    /// The request's head is no HTTP: it could not even be read.
    HeadUnreadable = "head-unreadable", 400;
    /// The request's head was not whole before the deadline.
    HeadTooSlow = "head-too-slow", 408;
    /// A listed peer names no source, or names it in no plain way.
    HeadSource = "head-source", 400;
    /// The head is longer than the limit: a reader with another limit would see another request.
    HeadTooLarge = "head-too-large", 431;
    /// The head's lines are not plain: a bare LF, an empty line before the request line or a folded header moves the line ends for some readers.
    HeadLine = "head-line", 400;
    /// The request is not HTTP/1.1 or HTTP/2: older versions end a body and a connection in other ways.
    HeadVersion = "head-version", 400;
    /// The method is not one that the clouds' operations have, so what a server makes of it is its own affair.
    HeadMethod = "head-method", 400;
    /// A header, parameter or field asks the upstream to take the method for another.
    MethodOverride = "method-override", 400;
    /// A header asks the upstream to take the path for another.
    PathOverride = "path-override", 400;
    /// Host is missing, stands twice or is no plain name, or something else in the request names another host.
    HeadHost = "head-host", 400;
    /// The TLS connection was made for another name than Host: who answers would depend on which of the two is read.
    HeadSni = "head-sni", 421;
    /// A header that decides who asks, on what or how stands twice: some readers take the first, others the last.
    HeadRepeated = "head-repeated", 400;
    /// A header's name holds more than letters, digits and `-`, or some servers read it as that of a header that counts.
    HeadName = "head-name", 400;
    /// A header's value holds a control or non-ASCII byte, which readers cut at, drop or decode in their own ways.
    HeadValue = "head-value", 400;
    /// Connection, or a signature, names a header that a server on the way would take off: who reads it depends on where it is read.
    HeadConnection = "head-connection", 400;
    /// The request asks for another protocol: the bytes behind it would be nobody's request.
    HeadUpgrade = "head-upgrade", 400;
    /// The request announces trailers, which some readers join with the headers that were judged.
    HeadTrailer = "head-trailer", 400;
    /// The body's length is said twice or in no plain way: where the request ends would depend on the reader.
    HeadFraming = "head-framing", 400;
    /// Expect asks for more than 100-continue, and servers take that in different ways.
    HeadExpect = "head-expect", 400;
    /// The request came as early data of TLS, which anybody may have sent a second time.
    HeadEarlyData = "head-early-data", 425;
    /// X-Project-Id names another project than the path: which of the two counts is the upstream's affair.
    HeadProject = "head-project", 400;
    /// A header that the catalogue describes has a value that the operation does not allow: it may make another call of it.
    HeaderInvalid = "header-invalid", 400;
    /// The signature covers an Accept-Encoding under which the answer could come unreadable, and its outcome with it.
    AcceptEncoding = "accept-encoding", 400;

    /// The target is longer than the limit: a reader with another limit would see another path.
    TargetTooLong = "target-too-long", 414;
    /// The target does not start with `/`: a server takes host and path from the target or from Host.
    TargetForm = "target-form", 400;
    /// The target holds a byte that must be percent-encoded: readers cut at it, escape it or take it as it is.
    TargetByte = "target-byte", 400;
    /// The path holds an escape that is broken, needless or of a separator: some readers decode it before they match, others after.
    TargetEscape = "target-escape", 400;
    /// The path has an empty segment (`//`), which some readers drop and others take for the start of a host.
    TargetEmptySegment = "target-empty-segment", 400;
    /// The path has a dot segment, which some readers resolve and others do not.
    TargetDotSegment = "target-dot-segment", 400;
    /// The path holds `;`, behind which some readers see a parameter and cut it off.
    TargetParameter = "target-parameter", 400;
    /// A path parameter does not fit the catalogue.
    PathInvalid = "path-invalid", 400;

    /// The query is not plain `name=value` pairs: readers split and decode the rest in their own ways.
    QueryMalformed = "query-malformed", 400;
    /// A query parameter stands twice: some readers take the first, others the last or both.
    QueryRepeated = "query-repeated", 400;
    /// A query parameter is not one of the operation, or is one in another spelling, which some readers take for it.
    QueryUnknown = "query-unknown", 400;
    /// A field of the body stands in the query: some readers prefer one place, some the other.
    QueryBodyField = "query-body-field", 400;
    /// A required query parameter is missing.
    QueryMissing = "query-missing", 400;
    /// A query parameter's value is not of the documented type or outside its documented limits.
    QueryValue = "query-value", 400;

    /// The body is longer than the limit.
    BodyTooLarge = "body-too-large", 413;
    /// The body did not arrive before the deadline.
    BodyTooSlow = "body-too-slow", 408;
    /// The request ended before its body was whole.
    BodyCut = "body-cut", 400;
    /// The body's chunks are not plain lines of size and data: where the request ends would depend on the reader.
    BodyFraming = "body-framing", 400;
    /// The operation takes no body, but one was sent.
    BodyNotExpected = "body-not-expected", 400;
    /// The operation needs a body, but none was sent.
    BodyMissing = "body-missing", 400;
    /// The content type is not the one that the operation takes, so another reader would read the body as something else.
    ContentType = "content-type", 415;
    /// The body has a content encoding; it cannot be judged and is refused.
    ContentEncoding = "content-encoding", 415;
    /// The body's digest differs from the one that the signature covers, or the body is unsigned.
    BodyDigest = "body-digest", 400;
    /// The body starts with a byte order mark, which some parsers skip and others refuse.
    BodyBom = "body-bom", 400;
    /// The body is not UTF-8: readers replace, drop or decode such bytes in their own ways.
    BodyNotUtf8 = "body-not-utf8", 400;
    /// The body is not strict JSON (RFC 8259); lenient parsers would each make something else of it.
    BodyNotJson = "body-not-json", 400;
    /// Something follows the JSON document: some readers take the first document, others the last.
    BodyTrailing = "body-trailing-data", 400;
    /// A string holds a control character, a line separator or a code point that is no character: readers cut at it or drop it.
    BodyControl = "body-control", 400;
    /// A string holds half of a surrogate pair, which readers replace, drop or keep.
    BodySurrogate = "body-surrogate", 400;
    /// A number is one that parsers read as different values or types: beyond 2^53, `-0`, or an integer with fraction or exponent.
    BodyNumber = "body-number", 400;
    /// An object has the same name twice, perhaps in two spellings: some parsers keep the first, others the last.
    BodyDuplicate = "body-duplicate-name", 400;
    /// A field's name is escaped, is not printable ASCII, or is an instruction to some parsers.
    BodyName = "body-name", 400;
    /// A field is a documented one in another spelling: a lenient binder takes it for that, a strict one ignores it.
    BodyLookalike = "body-lookalike-field", 400;
    /// The body is nested too deeply or has too many elements.
    BodyTooComplex = "body-too-complex", 400;
    /// A field has the wrong type; some readers would coerce it.
    BodyType = "body-wrong-type", 400;
    /// A field is not in the catalogue.
    BodyUnknownField = "body-unknown-field", 400;
    /// A required field is missing.
    BodyMissingField = "body-missing-field", 400;
    /// A field's value is outside its documented limits.
    BodyValue = "body-value", 400;
    /// The call holds more items than one call may.
    TooManyItems = "too-many-items", 400;
    /// The caller asks more often than it may.
    RateLimited = "rate-limited", 429;
    /// The gateway, or the share of this caller or its source in it, holds as much as it may; there is no room for the call now.
    BuffersFull = "buffers-full", 503;
    /// The audit record could not be made durable, so the call is refused.
    JournalUnavailable = "journal-unavailable", 503;
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_refusals_are_never_success_or_redirect() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let allowed = matches!(reason, Reason::Permitted | Reason::Passthrough);
            assert_eq!(reason.status() == 200, allowed, "{reason}");
            assert!(allowed || reason.status() >= 400, "{reason}");
        }
    }

    #[test]
    fn the_documentation_has_this_very_list() {
        let page = include_str!("../../../docs/unambiguous.md");
        let table = page.split("| code | status | meaning |").nth(1).unwrap();
        let written: Vec<&str> =
            table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
        let listed: Vec<String> = Reason::ALL
            .iter()
            .map(|r| format!("| `{r}` | {} | {} |", r.status(), r.meaning()))
            .collect();
        assert_eq!(written, listed);
    }

    #[test]
    fn the_documentation_names_no_other_code() {
        let page = include_str!("../../../docs/unambiguous.md");
        let classes =
            page.split("## Why readers differ").nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<&str> =
            classes.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let known = |code: &str| Reason::ALL.iter().any(|r| r.code() == code);
        for row in &rows {
            let codes = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            assert!(codes.split(", ").all(|code| known(code.trim_matches('`'))), "{row}");
        }
        // Every class of the head that is refused for a second reading has its row.
        let one_reading = [
            "head-too-large",
            "head-too-slow",
            "head-unreadable",
            "head-source",
            "target-too-long",
        ];
        for reason in Reason::ALL
            .iter()
            .filter(|r| r.code().starts_with("target-") || r.code().starts_with("head-"))
        {
            let told = one_reading.contains(&reason.code())
                || rows.iter().any(|row| row.contains(&format!("`{reason}`")));
            assert!(told, "{reason} has no row");
        }
    }
}
