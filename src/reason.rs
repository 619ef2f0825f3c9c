//! The closed list of reasons. One code serves the record, the answer, the metrics and the documentation alike.

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
    /// The path belongs to a family that the catalogue lists as passing unjudged.
    Passing = "passing", 200;
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
    /// The request head can be read in two ways.
    HeadAmbiguous = "head-ambiguous", 400;
    /// The request target can be read in two ways.
    TargetAmbiguous = "target-ambiguous", 400;
    /// A query parameter is repeated, unknown, malformed or missing.
    QueryInvalid = "query-invalid", 400;
    /// A path parameter does not fit the catalogue.
    PathInvalid = "path-invalid", 400;
    /// The body is longer than the limit.
    BodyTooLarge = "body-too-large", 413;
    /// The body did not arrive before the deadline.
    BodyTooSlow = "body-too-slow", 408;
    /// The client left before its request was whole.
    BodyCut = "body-cut", 400;
    /// The operation takes no body, but one was sent.
    BodyNotExpected = "body-not-expected", 400;
    /// The operation needs a body, but none was sent.
    BodyMissing = "body-missing", 400;
    /// The content type is not the one that the operation takes.
    ContentType = "content-type", 415;
    /// The body has a content encoding; it cannot be judged and is refused.
    ContentEncoding = "content-encoding", 415;
    /// The body is not UTF-8.
    BodyNotUtf8 = "body-not-utf8", 400;
    /// The body is not strict JSON (RFC 8259).
    BodyNotJson = "body-not-json", 400;
    /// Something follows the JSON document.
    BodyTrailing = "body-trailing-data", 400;
    /// An object has the same name twice.
    BodyDuplicate = "body-duplicate-name", 400;
    /// The body is nested too deeply or has too many elements.
    BodyTooComplex = "body-too-complex", 400;
    /// A field has the wrong type.
    BodyType = "body-wrong-type", 400;
    /// A field is not in the catalogue.
    BodyUnknownField = "body-unknown-field", 400;
    /// A required field is missing.
    BodyMissingField = "body-missing-field", 400;
    /// A field's value is outside its documented limits.
    BodyValue = "body-value", 400;
    /// The body's digest differs from the one that the signature covers, or the body is unsigned.
    BodyDigest = "body-digest", 400;
    /// The call holds more items than one call may.
    TooManyItems = "too-many-items", 400;
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
            let allowed = matches!(reason, Reason::Permitted | Reason::Passing);
            assert_eq!(reason.status() == 200, allowed, "{reason}");
            assert!(allowed || reason.status() >= 400, "{reason}");
        }
    }
}
