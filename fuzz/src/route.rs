//! Which operation a path means: the match forgives nothing, and no reader who decodes more often
//! sees another path.

use crate::CATALOG;
use http::{HeaderMap, Method};
use keyward_decision::catalog::Target;
use keyward_decision::catalog::route::percent_decode;
use keyward_decision::head::{self, Head};

/// Readers decode once, twice or, rarely, more often.
const DECODINGS: usize = 6;
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The input is a request's target: asked of every service, by every method.
pub fn fuzz(data: &[u8]) {
    let Ok(target) = std::str::from_utf8(data) else { return };
    let path = target.split('?').next().unwrap_or_default();
    let plain = plain(target, &Method::GET);
    for (service, method) in CATALOG
        .services()
        .flat_map(|(service, _)| METHODS.iter().map(move |method| (service.name.as_str(), method)))
    {
        let meant = CATALOG.classify(Some(service), "", method, path);
        if let Target::Operation(operation, parameters) = &meant {
            assert_eq!((&operation.method, operation.service.as_str()), (method, service));
            spells_the_template(&operation.template, parameters, path);
        }
        if plain && !matches!(meant, Target::Unknown(..)) {
            has_one_reading(path);
        }
    }
}

/// Whether the head check passes a target in an otherwise plain head.
fn plain(target: &str, method: &Method) -> bool {
    let headers = http::HeaderMap::from_iter([(
        http::header::HOST,
        http::HeaderValue::from_static("h.test"),
    )]);
    head::check(&checked(None, method, target.as_bytes(), "h.test", &headers)).is_none()
}

/// The path is the template, byte for byte, with one segment for each parameter.
fn spells_the_template(template: &str, parameters: &[(String, String)], path: &str) {
    let (want, have): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    assert_eq!(want.len(), have.len(), "{path} is no {template}");
    let mut parameters = parameters.iter();
    for (want, have) in want.iter().zip(have) {
        match want.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => {
                let (known, value) =
                    parameters.next().unwrap_or_else(|| panic!("{path} has no {name}"));
                assert_eq!((known.as_str(), Some(value)), (name, percent_decode(have).as_ref()));
                assert!(!value.is_empty());
            }
            None => assert_eq!(*want, have, "{path} is no {template}"),
        }
    }
    assert!(parameters.next().is_none());
}

/// However often a reader decodes a forwarded path, no segment of it vanishes or leads elsewhere.
pub fn has_one_reading(path: &str) {
    let mut read = path.as_bytes().to_vec();
    for _ in 0..DECODINGS {
        let segments: Vec<_> = read.split(|b| *b == b'/').skip(1).collect();
        let (last, others) =
            segments.split_last().unwrap_or_else(|| panic!("{path} has no segments"));
        assert!(others.iter().all(|s| !s.is_empty()), "{path} has an empty segment to some reader");
        assert!(
            others.iter().chain([last]).all(|s| *s != b"." && *s != b".."),
            "{path} has a dot segment to some reader"
        );
        assert!(
            read.iter().all(|b| *b >= 0x20 && *b != 0x7f && !b"\\;?#".contains(b)),
            "{path} holds a byte that parts it for some reader"
        );
        read = decode(&read);
    }
}

/// As the laxest reader decodes: what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .and_then(|d| std::str::from_utf8(d).ok())
            .filter(|_| *byte == b'%')
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    out
}

/// A head as the gateway checks it, of HTTP/1.1.
pub fn checked<'a>(
    raw: Option<&'a [u8]>,
    method: &'a Method,
    target: &'a [u8],
    host: &'a str,
    headers: &'a HeaderMap,
) -> Head<'a> {
    Head {
        raw,
        version: http::Version::HTTP_11,
        method,
        target,
        host,
        scheme: None,
        authority: None,
        sni: None,
        headers,
    }
}
