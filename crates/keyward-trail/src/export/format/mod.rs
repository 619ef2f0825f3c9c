//! The trail in the forms that others read: OCSF, CADF and CSV. Pure: an exchange in, a line out.

pub mod cadf;
pub mod csv;
pub mod ocsf;
mod rest;
mod verb;

use crate::exchange::Exchange;
use crate::query::render;
use keyward_record::canonical;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Records byte for byte, one on each line.
    Ndjson,
    /// Exchanges as `audit show` gives them as JSON, with the bodies beside their records, one on
    /// each line.
    Exchange,
    /// OCSF events of class API Activity, one exchange on each line.
    Ocsf,
    /// CADF events, one exchange on each line.
    Cadf,
    /// A table with one exchange in each row.
    Csv,
}

impl ExportFormat {
    /// Every form.
    pub const ALL: [Self; 5] = [Self::Ndjson, Self::Exchange, Self::Ocsf, Self::Cadf, Self::Csv];
    /// Their names, for people.
    pub const NAMES: &'static str = "`ndjson`, `exchange`, `ocsf`, `cadf` or `csv`";

    /// As it is named on the command line, in URLs and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Exchange => "exchange",
            Self::Ocsf => "ocsf",
            Self::Cadf => "cadf",
            Self::Csv => "csv",
        }
    }

    /// The form of this name; `None` when there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// The media type of a whole export.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Exchange | Self::Ocsf | Self::Cadf => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// What stands before the first line.
    pub fn header(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Exchange | Self::Ocsf | Self::Cadf => "",
            Self::Csv => csv::HEADER_MARKED,
        }
    }

    /// Adds the lines of one exchange.
    pub fn write(self, exchange: &Exchange, out: &mut Vec<u8>) {
        match self {
            Self::Ndjson => {
                for part in std::iter::once(&exchange.request).chain(&exchange.answer) {
                    line(&part.leaf, out);
                }
            }
            Self::Exchange => line(render::exchange_json(exchange).as_bytes(), out),
            Self::Ocsf => line(&one_line(canonical(&ocsf::event(exchange)).into()), out),
            Self::Cadf => line(&one_line(canonical(&cadf::event(exchange)).into()), out),
            Self::Csv => out.extend_from_slice(csv::row(exchange).as_bytes()),
        }
    }
}

/// JSON that is one line for every reader: some end lines at U+0085, U+2028 and U+2029 too, which
/// JSON lets stand in texts. Not for forms that hold records as they are stored: their bytes are
/// what is hashed.
fn one_line(json: Vec<u8>) -> Vec<u8> {
    const ENDS: [(&str, &str); 3] =
        [("\u{85}", "\\u0085"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")];
    let is_in = |json: &[u8], end: &str| memchr::memmem::find(json, end.as_bytes()).is_some();
    if !ENDS.iter().any(|(end, _)| is_in(&json, end)) {
        return json;
    }
    match String::from_utf8(json) {
        Ok(text) => {
            ENDS.iter().fold(text, |text, (end, escaped)| text.replace(end, escaped)).into_bytes()
        }
        Err(error) => error.into_bytes(),
    }
}

fn line(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    out.push(b'\n');
}
