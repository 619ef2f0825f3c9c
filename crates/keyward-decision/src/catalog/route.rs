//! Matching hosts and paths, on raw bytes: nothing is decoded, split and then forwarded as
//! something else.

use std::cmp::Ordering;

/// A host name with `*` for exactly one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPattern(Vec<Label>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Literal(String),
    OneOf(Vec<String>),
    Any,
}

impl HostPattern {
    /// Reads `kms.*.example.com`. `None` for an empty label, or when no label is literal: it would
    /// match any host.
    pub fn parse(text: &str) -> Option<Self> {
        let labels =
            text.to_ascii_lowercase().split('.').map(Label::parse).collect::<Option<Vec<_>>>()?;
        labels.iter().any(|l| matches!(l, Label::Literal(_))).then_some(Self(labels))
    }

    /// A pattern from a server's host, where `values` tells for each `{variable}` its closed set,
    /// if it has one.
    pub fn from_server(host: &str, values: impl Fn(&str) -> Option<Vec<String>>) -> Option<Self> {
        let label = |label: &str| match label.strip_prefix('{').and_then(|l| l.strip_suffix('}')) {
            Some(variable) => Some(values(variable).map_or(Label::Any, Label::OneOf)),
            None => Label::parse(label).filter(|l| *l != Label::Any),
        };
        let labels = host.to_ascii_lowercase().split('.').map(label).collect::<Option<Vec<_>>>()?;
        (labels.len() > 1).then_some(Self(labels))
    }

    /// Whether a host name in lower case, without its port, is meant.
    pub fn matches(&self, host: &str) -> bool {
        let mut labels = host.split('.');
        self.0.iter().all(|want| labels.next().is_some_and(|label| want.matches(label)))
            && labels.next().is_none()
    }
}

impl Label {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            _ if is_label(text) => Some(Self::Literal(text.to_owned())),
            _ => None,
        }
    }

    fn matches(&self, label: &str) -> bool {
        match self {
            Self::Literal(text) => text == label,
            Self::OneOf(texts) => texts.iter().any(|t| t == label),
            Self::Any => is_label(label),
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, label) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match label {
                Label::Literal(text) => write!(f, "{dot}{text}")?,
                Label::OneOf(texts) => write!(f, "{dot}({})", texts.join("|"))?,
                Label::Any => write!(f, "{dot}*")?,
            }
        }
        Ok(())
    }
}

/// A path template: `/v1/cloudimages/{image_id}/copy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template(Vec<Segment>);

// The order of the variants is the order of matching: a literal before a parameter before the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter { name: String, raw: bool },
    Rest,
}

impl Template {
    /// Reads a template; `raw` says in which parameters `%2F` may occur.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, raw: &[String]) -> Result<Self, String> {
        let path = text.strip_prefix('/').ok_or("a path starts with `/`")?;
        let segments: Vec<&str> = path.split('/').collect();
        let last = segments.len() - 1;
        let parse = |(i, segment): (usize, &&str)| match segment
            .strip_prefix('{')
            .and_then(|s| s.strip_suffix('}'))
        {
            Some("") => Err("a parameter needs a name".to_owned()),
            Some(name) => {
                Ok(Segment::Parameter { name: name.to_owned(), raw: raw.iter().any(|r| r == name) })
            }
            None if *segment == "**" && i == last => Ok(Segment::Rest),
            None if segment.contains(['{', '}', '*', '?', '#']) => {
                Err(format!("segment `{segment}` must be a literal or one `{{parameter}}`"))
            }
            None if segment.is_empty() && i != last => Err("an empty segment".to_owned()),
            None => Ok(Segment::Literal((*segment).to_owned())),
        };
        segments.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The names of the parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Parameter { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether both match the same paths, whatever their parameters are called.
    pub fn collides(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|pair| match pair {
                (Segment::Literal(a), Segment::Literal(b)) => a == b,
                (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
            })
    }

    /// Literals first, so that `/keypairs/associate` is not taken for a key pair named so.
    pub fn specificity(&self, other: &Self) -> Ordering {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Parameter { .. } => 1,
            Segment::Rest => 2,
        };
        self.0.iter().map(rank).cmp(other.0.iter().map(rank))
    }

    /// Whether a path is this one but for letter case, slashes or a dot at its end, or a suffix:
    /// some servers take it for the same. It is another one here.
    pub fn resembles(&self, path: &str) -> bool {
        let path = path.trim_end_matches(['/', '.']);
        let stem = path
            .rsplit_once('.')
            .filter(|(_, suffix)| suffix.bytes().all(|b| b.is_ascii_alphanumeric()))
            .map_or(path, |(stem, _)| stem);
        let fits = |path: &str| {
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            segments.len() == self.0.len()
                && self.0.iter().zip(segments).all(|(want, segment)| match want {
                    Segment::Literal(text) => text.eq_ignore_ascii_case(segment),
                    Segment::Parameter { .. } => !segment.is_empty(),
                    Segment::Rest => false,
                })
        };
        fits(path) || fits(stem)
    }

    /// The raw parameter values of a raw path. `None` when the path is another.
    pub fn capture<'p>(&self, path: &'p str) -> Option<Vec<(&str, &'p str)>> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let mut captured = Vec::new();
        for want in &self.0 {
            let segment = segments.next()?;
            match want {
                Segment::Literal(text) if text == segment => {}
                Segment::Parameter { name, raw }
                    if !segment.is_empty() && is_one(segment, *raw) =>
                {
                    captured.push((name.as_str(), segment))
                }
                Segment::Rest => {
                    return segments
                        .chain([segment])
                        .all(|s| !s.is_empty() && !has_encoded_slash(s))
                        .then_some(captured);
                }
                _ => return None,
            }
        }
        segments.next().is_none().then_some(captured)
    }
}

/// Whether a segment is one to whoever decodes it before splitting too: without an encoded slash,
/// or, where the parameter takes one, without the empty and dot parts that would lead such a reader
/// to another path.
fn is_one(segment: &str, raw: bool) -> bool {
    let parts = segment.replace("%2f", "%2F");
    if raw {
        parts.split("%2F").all(|part| !["", ".", ".."].contains(&part))
    } else {
        !has_encoded_slash(segment)
    }
}

fn has_encoded_slash(segment: &str) -> bool {
    segment
        .as_bytes()
        .windows(3)
        .any(|w| w.eq_ignore_ascii_case(b"%2f") || w.eq_ignore_ascii_case(b"%5c"))
}

/// Decodes `%XX`. `None` for a broken escape or for bytes that are not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_is_one_label() {
        let pattern = HostPattern::parse("kms.*.example.com").unwrap();
        assert!(pattern.matches("kms.cn-north-4.example.com"));
        for host in [
            "kms.example.com",
            "kms.a.b.example.com",
            "kms..example.com",
            "kms.a.example.com.",
            "xkms.a.example.com",
            "",
        ] {
            assert!(!pattern.matches(host), "{host}");
        }
        assert_eq!(HostPattern::parse("*.*"), None);
        assert_eq!(HostPattern::parse("a..b"), None);
    }

    #[test]
    fn a_server_with_a_closed_variable_matches_its_values_only() {
        let regions = |_: &str| Some(vec!["cn-north-4".to_owned()]);
        let pattern = HostPattern::from_server("kms.{region}.example.com", regions).unwrap();
        assert!(pattern.matches("kms.cn-north-4.example.com"));
        assert!(!pattern.matches("kms.cn-north-1.example.com"));
    }

    #[test]
    fn raw_segments_alone_take_an_encoded_slash() {
        let raw = Template::parse("/repositories/{id}/keys", &["id".to_owned()]).unwrap();
        assert_eq!(
            raw.capture("/repositories/60de%2FDemo/keys"),
            Some(vec![("id", "60de%2FDemo")])
        );
        for elsewhere in ["..%2Fkeys", "a%2f..%2F..", "a%2F%2fb", "%2F", "a%2F", "a%2F.%2Fb"] {
            assert_eq!(
                raw.capture(&format!("/repositories/{elsewhere}/keys")),
                None,
                "{elsewhere}"
            );
        }
        let plain = Template::parse("/repositories/{id}/keys", &[]).unwrap();
        assert_eq!(plain.capture("/repositories/60de%2fDemo/keys"), None);
        assert_eq!(plain.capture("/repositories/60de/keys/"), None);
        assert_eq!(plain.capture("/repositories//keys"), None);
    }

    #[test]
    fn another_spelling_is_another_path() {
        let template = Template::parse("/v3/{p}/keypairs", &[]).unwrap();
        for path in [
            "/V3/a/keypairs",
            "/v3/a/KeyPairs",
            "/v3/a/keypairs/",
            "/v3/a/keypairs.",
            "/v3/a/keypairs.json",
        ] {
            assert!(template.capture(path).is_none() && template.resembles(path), "{path}");
        }
        for path in ["/v3/keypairs", "/v3/a/keypair", "/v3/a/keypairs/b", "/", ""] {
            assert!(!template.resembles(path), "{path}");
        }
    }

    #[test]
    fn literals_come_first() {
        let literal = Template::parse("/k/{p}/associate", &[]).unwrap();
        let parameter = Template::parse("/k/{p}/{name}", &[]).unwrap();
        assert_eq!(literal.specificity(&parameter), Ordering::Less);
        assert!(!literal.collides(&parameter));
        assert!(parameter.collides(&Template::parse("/k/{a}/{b}", &[]).unwrap()));
    }

    #[test]
    fn the_rest_is_one_segment_or_more() {
        let rest = Template::parse("/v1.0/{p}/kms/**", &[]).unwrap();
        assert!(rest.capture("/v1.0/a/kms/list-keys").is_some());
        assert!(rest.capture("/v1.0/a/kms/x/y").is_some());
        assert!(rest.capture("/v1.0/a/kms").is_none());
        assert!(rest.capture("/v1.0/a/kms/").is_none());
        assert!(Template::parse("/a/**/b", &[]).is_err());
    }
}
