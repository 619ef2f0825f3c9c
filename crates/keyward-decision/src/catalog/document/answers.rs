//! What a document says of an operation's answers, and how their outcome is found.

use super::super::operation::{AnswerSpec, OutcomeSpec};
use super::super::schema::escape;
use super::super::{promise, reach};
use super::{Fault, Reader, fault};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

impl Reader<'_> {
    pub(super) fn answers(&self, at: &str) -> Result<BTreeMap<String, AnswerSpec>, Fault> {
        let mut answers = BTreeMap::new();
        for status in self.object(&format!("{at}/responses"))?.keys() {
            let pointer = self.resolve(&format!("{at}/responses/{}", escape(status)))?;
            let content =
                self.root.pointer(&format!("{pointer}/content")).and_then(Value::as_object);
            let mut answer = AnswerSpec::default();
            if let Some(media_type) = content.and_then(|c| c.keys().next()) {
                let media = format!("{pointer}/content/{}", escape(media_type));
                self.check_examples(&media)?;
                answer.secrets = promise::secrets(self.root, &format!("{media}/schema"));
                answer.example = self.example(&media);
                media_type.clone_into(&mut answer.media_type);
                if status.starts_with('2') {
                    answer.promise = self.validator(&media, true)?;
                    answer.fields = self.fields_of(&format!("{media}/schema"));
                }
            }
            answers.insert(status.clone(), answer);
        }
        Ok(answers)
    }

    /// The names of an object's own fields, through one reference.
    fn fields_of(&self, schema: &str) -> Vec<String> {
        let schema = self.resolve(schema).unwrap_or_else(|_| schema.to_owned());
        let fields = self.root.pointer(&format!("{schema}/properties")).and_then(Value::as_object);
        fields.map_or_else(Vec::new, |fields| fields.keys().cloned().collect())
    }

    pub(super) fn outcome(&self, at: &str) -> Result<OutcomeSpec, Fault> {
        let pointer = format!("{at}/x-keyward-outcome");
        let optional = |key: &str| {
            let place = format!("{pointer}/{key}");
            self.root.pointer(&place).map(|_| self.source(&place)).transpose()
        };
        let failed_if = match self.root.pointer(&format!("{pointer}/failed-if")) {
            None => None,
            Some(node) => {
                let value = node
                    .get("is")
                    .ok_or_else(|| fault(&pointer, "`failed-if` needs `at` and `is`"))?;
                Some((self.source(&format!("{pointer}/failed-if/at"))?, value.clone()))
            }
        };
        let accepted = match self.root.pointer(&format!("{pointer}/accepted")) {
            Some(Value::Array(several)) => (0..several.len())
                .map(|i| self.source(&format!("{pointer}/accepted/{i}")))
                .collect::<Result<_, _>>()?,
            _ => optional("accepted")?.into_iter().collect(),
        };
        let outcome = OutcomeSpec {
            accepted,
            succeeded: optional("succeeded")?,
            failed: optional("failed")?,
            failed_if,
        };
        reach::check_outcome(self.root, &outcome, &self.successes(at)?)
            .map_err(|why| fault(&pointer, &why))?;
        Ok(outcome)
    }

    /// The schemas of an operation's answers with a 2xx status.
    fn successes(&self, at: &str) -> Result<Vec<String>, Fault> {
        let mut schemas = Vec::new();
        for status in
            self.object(&format!("{at}/responses"))?.keys().filter(|status| status.starts_with('2'))
        {
            let pointer = self.resolve(&format!("{at}/responses/{}", escape(status)))?;
            let media = self
                .root
                .pointer(&format!("{pointer}/content"))
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(Map::keys);
            schemas
                .extend(media.map(|media| format!("{pointer}/content/{}/schema", escape(media))));
        }
        Ok(schemas)
    }
}
