//! A record with slots: what the composer wrote for marks, cut where the marks stand.

use std::ops::Range;

/// What differs from one exchange to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The audit id.
    Id,
    /// When the request came.
    Received,
    /// When it was judged.
    Judged,
    /// When its answer was recorded.
    Answered,
    /// When the key that it asks for expires.
    Expires,
    /// `x-sdk-date`.
    SdkDate,
    /// The cloud project.
    Project,
    /// A key pair.
    Keypair,
    /// An image.
    Image,
    /// A cloud phone server.
    Server,
    /// Another.
    Server2,
    /// What the cloud calls the job, or the answer.
    Job,
    /// The source's address.
    Address,
    /// The source's port, with its name.
    Port,
    /// The keyed digest of the request's signature.
    Signature,
    /// The digest of the body.
    Digest,
    /// What binds the body to its record.
    Commit,
    /// Microseconds of the head, the body, the decision, and the cloud.
    HeadTime,
    /// See above.
    BodyTime,
    /// See above.
    DecideTime,
    /// See above.
    CloudTime,
}

impl Slot {
    const ALL: [Self; 21] = [
        Self::Id,
        Self::Received,
        Self::Judged,
        Self::Answered,
        Self::Expires,
        Self::SdkDate,
        Self::Project,
        Self::Keypair,
        Self::Image,
        Self::Server,
        Self::Server2,
        Self::Job,
        Self::Address,
        Self::Port,
        Self::Signature,
        Self::Digest,
        Self::Commit,
        Self::HeadTime,
        Self::BodyTime,
        Self::DecideTime,
        Self::CloudTime,
    ];
}

/// A text for each slot. Its strings keep their memory from one exchange to the next.
#[derive(Clone, Debug)]
pub struct Values([String; Slot::ALL.len()]);

impl Default for Values {
    fn default() -> Self {
        Self(std::array::from_fn(|_| String::new()))
    }
}

impl Values {
    /// The text of a slot, to be read.
    pub fn get(&self, slot: Slot) -> &str {
        self.0.get(slot as usize).map_or("", String::as_str)
    }

    /// Every slot with its text, as marks.
    pub fn all(&self) -> Vec<(Slot, String)> {
        Slot::ALL.into_iter().map(|slot| (slot, self.get(slot).to_owned())).collect()
    }

    /// Gives a slot its text.
    pub fn set(&mut self, slot: Slot, text: std::fmt::Arguments<'_>) {
        if let Some(value) = self.0.get_mut(slot as usize) {
            value.clear();
            // Writing to a String cannot fail.
            let _ = std::fmt::Write::write_fmt(value, text);
        }
    }
}

/// A text cut at its marks.
#[derive(Clone, Debug)]
pub struct Template {
    text: Vec<u8>,
    /// Stretches of the text, each with the slot behind it.
    parts: Vec<(Range<usize>, Slot)>,
    tail: Range<usize>,
}

impl Template {
    /// Cuts `text` wherever one of the marks stands. No mark may hold another.
    pub fn cut(text: &[u8], marks: &[(Slot, String)]) -> Self {
        let (mut parts, mut kept, mut at) = (Vec::new(), 0, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            match marks
                .iter()
                .find(|(_, mark)| !mark.is_empty() && rest.starts_with(mark.as_bytes()))
            {
                Some((slot, mark)) => {
                    parts.push((kept..at, *slot));
                    at += mark.len();
                    kept = at;
                }
                None => at += 1,
            }
        }
        Self { text: text.to_vec(), parts, tail: kept..text.len() }
    }

    /// Writes the text with its slots filled.
    pub fn fill(&self, values: &Values, out: &mut Vec<u8>) {
        for (part, slot) in &self.parts {
            out.extend_from_slice(self.text.get(part.clone()).unwrap_or_default());
            out.extend_from_slice(values.get(*slot).as_bytes());
        }
        out.extend_from_slice(self.text.get(self.tail.clone()).unwrap_or_default());
    }

    /// The same as new bytes.
    pub fn filled(&self, values: &Values) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 64);
        self.fill(values, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_stays() {
        let marks = [
            (Slot::Id, "ID".to_owned()),
            (Slot::Port, "\"port\":1".to_owned()),
            (Slot::Job, String::new()),
        ];
        let template = Template::cut(b"ID{\"port\":1,ID}IDx", &marks);
        let mut values = Values::default();
        values.set(Slot::Id, format_args!("a"));
        values.set(Slot::Port, format_args!("\"port\":{}", 2));
        assert_eq!(template.filled(&values), b"a{\"port\":2,a}ax");
        assert_eq!(Template::cut(b"", &marks).filled(&values), b"");
    }
}
