//! Questions to the trail and their answers as text: the same from a running gateway and from a
//! stopped one's folder.

use super::render;
use crate::filter::{Filter, FilterError};
use crate::query::{Cursor, PAGE_EXCHANGES_MAX, QueryError, Reader, no_exchange};
use crate::tombstone::{Tombstone, joined};
use keyward_core::clock::AuditId;

/// Exchanges in a page when no limit is given.
pub const LIMIT_DEFAULT: usize = 50;
/// What a limit takes.
pub const LIMITS: &str = "a whole number from 1 to 1000";
/// Where the trail's questions are answered on the admin listener.
pub const EXCHANGES: &str = "/api/v1/exchanges";
/// Where counts are answered.
pub const COUNTS: &str = "/api/v1/counts";
/// Where histograms are answered.
pub const HISTOGRAM: &str = "/api/v1/histogram";
/// The step of a histogram when none is given.
const STEP_DEFAULT: &str = "1h";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A page of exchanges.
    Exchanges {
        /// Which.
        filter: Filter,
        /// How many at most.
        limit: usize,
        /// From where on.
        cursor: Option<Cursor>,
    },
    /// How many exchanges.
    Counts {
        /// Which.
        filter: Filter,
        /// By the values of what.
        by: Option<String>,
    },
    /// How many exchanges in each stretch of time.
    Histogram {
        /// Which.
        filter: Filter,
        /// How long a stretch is, as in `1h`.
        step: String,
    },
    /// One exchange, whole.
    Exchange(AuditId),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, so many columns wide.
    Table(u16),
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The filter cannot be.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The trail cannot answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A parameter that is none of the filter's is wrong.
    #[error("`{name}` cannot be `{value}`: it takes {allowed}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        allowed: &'static str,
    },
    /// There is no such exchange.
    #[error("{}", no_exchange(*.id, *.gone))]
    Missing {
        /// Its id.
        id: AuditId,
        /// Records that stood where it would, and are gone.
        gone: Option<Tombstone>,
    },
}

impl AskError {
    /// The HTTP status that says whose fault it is.
    pub fn status(&self) -> u16 {
        match self {
            Self::Missing { .. } => 404,
            Self::Query(QueryError::Store(_) | QueryError::NoTrail(_)) => 500,
            _ => 400,
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the form that was asked for.
    pub text: String,
    /// What must be known beside it, in sentences; tables and JSON documents have them too.
    pub warnings: Vec<String>,
}

/// The header in which warnings stand beside an answer of the admin listener.
pub const WARNINGS: &str = "x-keyward-warnings";

/// Warnings as the value of a header: a JSON array, in ASCII.
pub fn warnings_header(warnings: &[String]) -> String {
    let mut units = [0; 2];
    let mut header = String::new();
    for c in serde_json::json!(warnings).to_string().chars() {
        if c.is_ascii() {
            header.push(c);
        } else {
            c.encode_utf16(&mut units).iter().for_each(|unit| header += &format!("\\u{unit:04x}"));
        }
    }
    header
}

/// The warnings of such a header.
pub fn warnings_of(header: Option<&str>) -> Vec<String> {
    header.and_then(|header| serde_json::from_str(header).ok()).unwrap_or_default()
}

impl Form {
    /// The media type of an answer in this form.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table(_) => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn pairs(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Table(width) => {
                vec![("format", "table".to_owned()), ("width", width.to_string())]
            }
            Self::Json => vec![("format", "json".to_owned())],
            Self::Ndjson => vec![("format", "ndjson".to_owned())],
        }
    }
}

impl Ask {
    /// Reads the question that a URL asks: its path, and its query's names and values.
    ///
    /// # Errors
    /// When a parameter is unknown or wrong.
    pub fn read(path: &str, pairs: Vec<(String, String)>) -> Result<(Self, Form), AskError> {
        let (mut filter, mut form, mut width, mut limit, mut cursor) =
            (Filter::default(), "json".to_owned(), 120, LIMIT_DEFAULT, None);
        let (mut by, mut step) = (None, STEP_DEFAULT.to_owned());
        for (name, value) in pairs {
            match name.as_str() {
                "format" => form = value,
                "width" => {
                    width = value
                        .parse()
                        .map_err(|_| parameter("width", value, "columns from 40 to 1000"))?
                }
                "limit" => {
                    limit = limit_of(&value).ok_or_else(|| parameter("limit", value, LIMITS))?
                }
                "cursor" => cursor = Some(value.parse()?),
                "by" => by = Some(value),
                "step" => step = value,
                _ => filter.add(&name, &value)?,
            }
        }
        let form = match form.as_str() {
            "table" => Form::Table(width.clamp(40, 1000)),
            "json" => Form::Json,
            "ndjson" => Form::Ndjson,
            _ => return Err(parameter("format", form, "`table`, `json` or `ndjson`")),
        };
        let ask = match path.strip_prefix(EXCHANGES).map(|rest| rest.trim_matches('/')) {
            Some("") => Self::Exchanges { filter, limit, cursor },
            Some(id) => Self::Exchange(AuditId::parse(id).ok_or_else(|| {
                parameter(
                    "id",
                    id.to_owned(),
                    "an audit id, for example 01a2043b-69db-752d-a7e3-7a867bd75517",
                )
            })?),
            None if path == HISTOGRAM => Self::Histogram { filter, step },
            None => Self::Counts { filter, by },
        };
        Ok((ask, form))
    }

    /// Path and query of the URL that asks it.
    pub fn target(&self, form: Form) -> String {
        let (path, filter, mut pairs) = match self {
            Self::Exchanges { filter, limit, cursor } => {
                let mut pairs = vec![("limit", limit.to_string())];
                pairs.extend(cursor.map(|c| ("cursor", c.to_string())));
                (EXCHANGES.to_owned(), filter.to_query(), pairs)
            }
            Self::Counts { filter, by } => (
                COUNTS.to_owned(),
                filter.to_query(),
                by.iter().map(|by| ("by", by.clone())).collect(),
            ),
            Self::Histogram { filter, step } => {
                (HISTOGRAM.to_owned(), filter.to_query(), vec![("step", step.clone())])
            }
            Self::Exchange(id) => (format!("{EXCHANGES}/{id}"), String::new(), Vec::new()),
        };
        pairs.extend(form.pairs());
        let own = serde_urlencoded::to_string(pairs).unwrap_or_default();
        if filter.is_empty() { format!("{path}?{own}") } else { format!("{path}?{filter}&{own}") }
    }

    /// Answers it.
    ///
    /// # Errors
    /// When nothing knows a name that is asked for, the trail cannot be read, a cursor belongs to
    /// another filter, or the exchange is not there.
    pub fn answer(&self, reader: &Reader, form: Form) -> Result<Answer, AskError> {
        let warnings = match self {
            Self::Exchanges { filter, .. } | Self::Histogram { filter, .. } => {
                reader.doubts(filter, None)?
            }
            Self::Counts { filter, by } => reader.doubts(filter, by.as_deref())?,
            Self::Exchange(_) => Vec::new(),
        };
        let text = self.text(reader, form, &warnings)?;
        Ok(Answer { text, warnings })
    }

    fn text(&self, reader: &Reader, form: Form, warnings: &[String]) -> Result<String, AskError> {
        let beside =
            |gone: &[Tombstone]| render::warnings_table(warnings) + &render::gone_table(gone);
        match self {
            Self::Exchanges { filter, limit, cursor } => {
                let (page, gone) = (reader.query(filter, *limit, *cursor)?, gone(reader, filter)?);
                Ok(match form {
                    Form::Table(width) => render::table(&page, width) + &beside(&gone),
                    Form::Json => render::page_json(&page, &gone, warnings) + "\n",
                    Form::Ndjson => render::page_ndjson(&page),
                })
            }
            Self::Counts { filter, by } => {
                let (counts, gone) = (reader.count(filter, by.as_deref())?, gone(reader, filter)?);
                Ok(match form {
                    Form::Table(width) => {
                        render::counts_table(&counts, by.as_deref(), width) + &beside(&gone)
                    }
                    Form::Json | Form::Ndjson => {
                        format!("{}\n", render::counts_json(&counts, &gone, warnings))
                    }
                })
            }
            Self::Histogram { filter, step } => {
                let (histogram, gone) = (reader.histogram(filter, step)?, gone(reader, filter)?);
                Ok(match form {
                    Form::Table(width) => {
                        render::histogram_table(&histogram, width) + &beside(&gone)
                    }
                    Form::Json | Form::Ndjson => {
                        format!("{}\n", render::histogram_json(&histogram, &gone, warnings))
                    }
                })
            }
            Self::Exchange(id) => {
                let Some(exchange) = reader.show(*id)? else {
                    return Err(AskError::Missing {
                        id: *id,
                        gone: reader.gone_about(*id).map_err(QueryError::from)?,
                    });
                };
                Ok(match form {
                    Form::Table(_) => render::show(&exchange),
                    Form::Json | Form::Ndjson => render::exchange_json(&exchange) + "\n",
                })
            }
        }
    }
}

/// A limit of a page; `None` when it is none.
pub fn limit_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|limit| (1..=PAGE_EXCHANGES_MAX).contains(limit))
}

/// What an answer may lack, because it is gone from the trail.
fn gone(reader: &Reader, filter: &Filter) -> Result<Vec<Tombstone>, QueryError> {
    Ok(joined(reader.gone_within(filter)?))
}

/// Records that may have been those of an exchange.
fn parameter(name: &'static str, value: String, allowed: &'static str) -> AskError {
    AskError::Parameter { name, value, allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Result<(Ask, Form), AskError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ask::read(path, serde_urlencoded::from_str(query).unwrap())
    }

    #[test]
    fn a_question_survives_its_url() {
        let mut filter = Filter::default();
        filter.add("decision", "deny").unwrap();
        filter.add("request.call.path", "/v2/a b&c").unwrap();
        filter.add("where", "caller in (a, \"b & c\") or not status = 4xx").unwrap();
        for (ask, form) in [
            (
                Ask::Exchanges {
                    filter: filter.clone(),
                    limit: 7,
                    cursor: Some("12-00000000000000ff".parse().unwrap()),
                },
                Form::Table(99),
            ),
            (Ask::Counts { filter: filter.clone(), by: Some("caller".to_owned()) }, Form::Json),
            (Ask::Histogram { filter, step: "1d".to_owned() }, Form::Json),
            (Ask::Exchange(AuditId::new()), Form::Ndjson),
        ] {
            assert_eq!(read(&ask.target(form)).unwrap(), (ask, form));
        }
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (target, wanted) in [
            ("/api/v1/exchanges?format=xml", "`format`"),
            ("/api/v1/exchanges?limit=x", "`limit`"),
            ("/api/v1/exchanges?limit=0", "from 1 to 1000"),
            ("/api/v1/exchanges?limit=1001", "from 1 to 1000"),
            ("/api/v1/exchanges?cursor=x", "cursor"),
            ("/api/v1/exchanges?desision=deny", "desision"),
            ("/api/v1/counts?where=caller+%3D+a+desision", "column 12"),
            ("/api/v1/exchanges/x", "`id`"),
        ] {
            let error = read(target).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
            assert_eq!(error.status(), 400);
        }
    }
}
