//! Places: where in a call a value stands. Put into words only when something is wrong there.

use std::fmt;

/// A place in a call: `body.servers[2].server_id`.
#[derive(Clone, Copy, Debug)]
pub enum FieldPath<'a> {
    /// The body, a parameter, or what else has a name of its own.
    Root(&'a str),
    /// A field of an object, or a parameter of a section.
    Field(&'a FieldPath<'a>, &'a str),
    /// An element of an array.
    Element(&'a FieldPath<'a>, usize),
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_its_source_is_written() {
        let body = FieldPath::Root("body");
        let servers = FieldPath::Field(&body, "servers");
        assert_eq!(
            FieldPath::Field(&FieldPath::Element(&servers, 2), "server_id").to_string(),
            "body.servers[2].server_id"
        );
    }
}
